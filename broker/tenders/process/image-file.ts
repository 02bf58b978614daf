import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { ErrorCode, isKerbError, KerbError } from '../../../shared/base/errors.ts';
import { readFault } from '../../../shared/host/read-fault.ts';

/** `kerbside/abi.h`: no tender takes a larger image. */
const IMAGE_MAX = 64 * 1024 * 1024;

/**
 * The bytes of a unikernel image, as they are: the tender checks them.
 * @throws KerbError ImageRefused
 */
export async function readImageFile(path: string): Promise<Buffer> {
  const refused = (reason: string, cause?: unknown) =>
    new KerbError(ErrorCode.ImageRefused, `image ${path} is refused: ${reason}`, { image: path, reason }, { cause });
  // Neither a FIFO nor a device may keep us here.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY).catch(
    (cause: unknown) => {
      throw refused(`it cannot be opened: ${readFault(cause)}`, cause);
    },
  );
  try {
    const stat = await file.stat();
    if (!stat.isFile() || stat.size > IMAGE_MAX)
      throw refused(`it is not a regular file of at most ${IMAGE_MAX} bytes`);
    return await file.readFile();
  } catch (cause) {
    throw isKerbError(cause) ? cause : refused(`it cannot be read: ${readFault(cause)}`, cause);
  } finally {
    await file.close();
  }
}
