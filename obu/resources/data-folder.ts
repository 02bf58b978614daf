import { chmod, mkdir } from 'node:fs/promises';
import { ErrorCode, KerbError, messageOf } from '../../shared/base/errors.ts';

/**
 * Makes the folder of a workload's /data. The one above is closed to everybody else on this machine; in the container any user
 * may write here.
 * @throws KerbError ContainerFailed
 */
export async function makeDataFolder(workload: string, folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true });
    await chmod(folder, 0o777);
  } catch (error) {
    const message = `its folder for /data, ${folder}, cannot be made: ${messageOf(error)}`;
    throw new KerbError(ErrorCode.ContainerFailed, message, { workload }, { cause: error });
  }
}
