import { constants } from 'node:fs';
import { access, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { ErrorCode, isErrno, KerbError } from '../base/errors.ts';
import { writeFileAtomically } from '../host/atomic-write.ts';
import type { Credentials } from './authority.ts';
import { IDENTITY_FILES } from './x509-identity.ts';

export async function exists(path: string): Promise<boolean> {
  return access(path, constants.F_OK).then(
    () => true,
    (error: unknown) => {
      if (isErrno(error, 'ENOENT') || isErrno(error, 'ENOTDIR')) return false;
      throw error;
    },
  );
}

/**
 * Fills an identity directory: certificate, key (mode 0600) and, for all but an authority, the authority to believe.
 * @throws KerbError BadIdentity when there is a key already and `force` is not set.
 */
export async function writeIdentity(
  dir: string,
  credentials: Credentials,
  authority: string | undefined,
  force = false,
): Promise<void> {
  const key = join(dir, IDENTITY_FILES.key);
  if (!force && (await exists(key))) {
    throw new KerbError(
      ErrorCode.BadIdentity,
      `there is a key already: ${key}; choose another directory, or --force to replace it for good`,
      { key },
    );
  }
  await mkdir(dir, { recursive: true, mode: 0o700 });
  await writeFileAtomically(key, credentials.key, { mode: 0o600 });
  await writeFileAtomically(join(dir, IDENTITY_FILES.certificate), credentials.certificate, { mode: 0o644 });
  if (authority !== undefined)
    await writeFileAtomically(join(dir, IDENTITY_FILES.authorities), authority, { mode: 0o644 });
}
