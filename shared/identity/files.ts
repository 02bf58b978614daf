import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { access, mkdir, open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { ErrorCode, isErrno, KerbError } from '../base/errors.ts';
import type { Credentials } from './authority.ts';
import { IDENTITY_FILES } from './x509-identity.ts';

/** Writes all of it or nothing, and to the disk before it is visible under its name. */
export async function writeFileAtomically(path: string, text: string, mode: number): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}`);
  try {
    const file = await open(temporary, 'wx', mode);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

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
  await writeFileAtomically(key, credentials.key, 0o600);
  await writeFileAtomically(join(dir, IDENTITY_FILES.certificate), credentials.certificate, 0o644);
  if (authority !== undefined) await writeFileAtomically(join(dir, IDENTITY_FILES.authorities), authority, 0o644);
}
