import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ErrorCode, KerbError } from '../base/errors.ts';
import { quoted } from '../base/quoted.ts';
import { withWorkFolder } from '../host/work-folder.ts';
import { MAX_JSON } from '../task-package/format.ts';
import { isPackagePath } from '../task-package/push-codec.ts';
import { readTaskManifests, type TaskPackage } from '../task-package/reader.ts';
import { verifyTaskPackage } from '../task-package/signature.ts';
import type { TrustedKeys } from '../task-package/signer.ts';
import { fitsRange } from '../task-package/version-range.ts';
import type { TaskDescription, TaskQuery } from './broker-client.ts';

/** A package with as many signatures as it may have needs fewer. */
const MAX_FILES = 64;

/** A described task whose name, version and signature have been checked here. */
export interface VerifiedTask extends Pick<TaskPackage, 'digest' | 'config'> {
  /** The name under which the key of the signature is trusted. */
  readonly signer: string;
}

/**
 * Checks by the caller's own trust that a description is of the task that was asked for: the digest names its manifest,
 * a trusted key has signed that, and name and version are the requested ones.
 * @throws KerbError BadTaskPackage | TaskPackageDigestMismatch | TaskUnsigned | TaskSignerUnknown | TaskSignatureInvalid |
 * TaskSignatureExpired
 */
export async function verifyDescription(
  { digest, files }: TaskDescription,
  { taskDigest, name, range }: TaskQuery,
  trust: TrustedKeys,
  broker: string,
): Promise<VerifiedTask> {
  const bad = (why: string) =>
    new KerbError(ErrorCode.BadTaskPackage, `broker ${broker} described a task that cannot be used: ${why}`, {
      broker,
    });
  if (files.length > MAX_FILES) throw bad(`${files.length} files are more than ${MAX_FILES}`);
  return await withWorkFolder('kerb-describe-', async (folder) => {
    for (const { path, content } of files) {
      if (!isPackagePath(path)) throw bad(`${quoted(path)} is not a file of a task package`);
      if (content.length > MAX_JSON) throw bad(`${path} has ${content.length} bytes, more than ${MAX_JSON}`);
      await mkdir(dirname(join(folder, path)), { recursive: true });
      await writeFile(join(folder, path), content);
    }
    try {
      const found = await readTaskManifests(folder);
      const { config } = found;
      if (found.digest !== digest) throw bad(`its files have the digest ${found.digest}, not ${digest}`);
      if (taskDigest !== undefined && digest !== taskDigest) throw bad(`it is ${digest}, not ${taskDigest}`);
      if (config.name !== name || !fitsRange(config.version, range)) {
        throw bad(`it is ${config.name} ${config.version}, and ${name}${range && `@${range}`} was asked for`);
      }
      const { signer } = await verifyTaskPackage(found, trust);
      return { digest, config, signer };
    } catch (error) {
      if (!(error instanceof KerbError)) throw error;
      // The folder is gone when this is read.
      const message = error.message.replaceAll(` in ${folder}`, ` of broker ${broker}`).replaceAll(folder, broker);
      throw new KerbError(error.code, message, { broker });
    }
  });
}
