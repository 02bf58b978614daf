import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { mkdir, readdir, readFile, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ErrorCode, isErrno, KerbError } from '../base/errors.ts';
import { quoted } from '../base/quoted.ts';
import { makeFolderAtomically, writeFileAtomically } from '../host/atomic-write.ts';
import { readFault } from '../host/read-fault.ts';
import { exists } from '../identity/files.ts';

/**
 * The directory of a task signer: `key.pem`, which nobody else may read, and `public/NAME.pem`, which is given to those
 * who trust it. A directory of such public keys is what `--trust` takes.
 */
export const SIGNER_KEY = 'key.pem';
export const SIGNER_PUBLIC = 'public';

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const KEY_SIZE_LIMIT = 16 * 1024;

export interface Signer {
  readonly key: KeyObject;
  readonly keyId: string;
}

export interface TrustedKey {
  /** Of the file that it was in: who has put it there knows whose it is. */
  readonly name: string;
  readonly key: KeyObject;
}

/** Public keys by their id. */
export type TrustedKeys = ReadonlyMap<string, TrustedKey>;

/** Hexadecimal SHA-256 of the public key as SubjectPublicKeyInfo (RFC 5280, 4.1): the hint in a Sigstore bundle. */
export function keyIdOf(key: KeyObject): string {
  const { type } = key;
  const spki = (type === 'private' ? createPublicKey(key) : key).export({ type: 'spki', format: 'der' });
  return createHash('sha256').update(spki).digest('hex');
}

/** Makes the key of a task signer, ECDSA on P-256. @throws KerbError BadIdentity: a bad name, or a key is there */
export async function createSigner(dir: string, name: string, force = false): Promise<Signer> {
  if (!NAME.test(name)) {
    throw bad(`${quoted(name)} is not a valid name for a signer: it must be letters, digits and . _ -, at most 64`, {
      name,
    });
  }
  const path = join(dir, SIGNER_KEY);
  if (!force && (await exists(path))) {
    throw bad(`there is a key already: ${path}; choose another directory, or --force to replace it for good`, { path });
  }
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  await rm(join(dir, SIGNER_PUBLIC), { recursive: true, force: true });
  await mkdir(join(dir, SIGNER_PUBLIC), { recursive: true, mode: 0o700 });
  await writeFileAtomically(path, privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(), { mode: 0o600 });
  const pem = publicKey.export({ type: 'spki', format: 'pem' }).toString();
  await writeFileAtomically(join(dir, SIGNER_PUBLIC, `${name}.pem`), pem, { mode: 0o644 });
  return { key: privateKey, keyId: keyIdOf(publicKey) };
}

/** @throws KerbError BadIdentity: no key, none of this kind, or one that others can read */
export async function loadSigner(dir: string): Promise<Signer> {
  const path = join(dir, SIGNER_KEY);
  let key: KeyObject;
  try {
    const { mode } = await stat(path);
    if ((mode & 0o077) !== 0) {
      throw bad(`the key ${path} can be read by others (mode ${(mode & 0o777).toString(8)}); run: chmod 600 ${path}`, {
        path,
      });
    }
    key = createPrivateKey(await readFile(path));
  } catch (error) {
    if (error instanceof KerbError) throw error;
    const why = isErrno(error, 'ENOENT') ? 'is missing' : `is not a valid private key: ${readFault(error)}`;
    throw bad(`${path} ${why}; \`kerb pki task-signer\` makes one`, { path }, error);
  }
  if (!isP256(key)) throw bad(`${path} is not a key on the curve P-256; \`kerb pki task-signer\` makes one`, { path });
  return { key, keyId: keyIdOf(key) };
}

/**
 * The public keys in a directory, `NAME.pem` each.
 * @throws KerbError BadIdentity: the directory cannot be read, holds none, or holds what is no public key
 */
export async function loadTrust(dir: string): Promise<TrustedKeys> {
  const names = await readdir(dir).catch((error: unknown) => {
    throw bad(`cannot read the trusted keys in ${dir}: ${readFault(error)}`, { dir }, error);
  });
  const trusted = new Map<string, TrustedKey>();
  for (const file of names.sort()) {
    if (!file.endsWith('.pem')) continue;
    const path = join(dir, file);
    let key: KeyObject;
    try {
      if ((await stat(path)).size > KEY_SIZE_LIMIT) throw new Error('it is too large');
      const pem = await readFile(path, 'utf8');
      if (pem.includes('PRIVATE KEY')) throw new Error('it holds a private key, which belongs to its signer alone');
      key = createPublicKey(pem);
    } catch (error) {
      throw bad(`${path} is not a valid public key: ${readFault(error)}`, { path }, error);
    }
    if (!isP256(key)) throw bad(`${path} is not a public key on the curve P-256`, { path });
    trusted.set(keyIdOf(key), { name: file.slice(0, -'.pem'.length), key });
  }
  if (trusted.size === 0) {
    throw bad(
      `${dir} holds no public key (*.pem) of a task signer; with none, no task could be run (see \`kerb pki task-signer\`)`,
      { dir },
    );
  }
  return trusted;
}

/**
 * A signer for development, made when it is missing; several processes may do so at once. Never for a real vehicle.
 * @returns its directory, for `loadSigner`, and that of its public key, for `loadTrust`
 */
export async function ensureDevelopmentSigner(identityDir: string): Promise<{ dir: string; trust: string }> {
  const dir = join(identityDir, 'task-signer');
  if (!(await exists(dir))) {
    await mkdir(dirname(dir), { recursive: true, mode: 0o700 });
    // Where somebody else was faster, that one is used.
    await makeFolderAtomically(dir, (folder) => createSigner(folder, 'development'));
  }
  return { dir, trust: join(dir, SIGNER_PUBLIC) };
}

function isP256(key: KeyObject): boolean {
  return key.asymmetricKeyType === 'ec' && key.asymmetricKeyDetails?.namedCurve === 'prime256v1';
}

function bad(message: string, context: Record<string, unknown>, cause?: unknown): KerbError {
  return new KerbError(ErrorCode.BadIdentity, message, context, cause === undefined ? undefined : { cause });
}
