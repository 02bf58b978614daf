import { randomBytes } from 'node:crypto';
import { mkdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ErrorCode, isErrno, isKerbError, KerbError, messageOf } from '../base/errors.ts';
import { makeFolderAtomically, writeFileAtomically } from '../host/atomic-write.ts';
import type { Credentials, Subject } from './authority.ts';
import { isIssuedBy, parseCertificate, principalOf } from './certificate.ts';
import { exists, writeIdentity } from './files.ts';
import { checkId, checkTenant } from './identity.ts';
import { IDENTITY_FILES, loadIdentity } from './x509-identity.ts';

export interface DevelopmentNames {
  readonly vehicle: string;
  readonly broker: string;
  readonly tenant: string;
}

export interface DevelopmentIdentities {
  /** Identity directories, for `loadIdentity`. */
  readonly vehicle: string;
  readonly broker: string;
  /** One sentence for everything that was made or renewed; empty when all was there. */
  readonly made: readonly string[];
}

/** What has less than this left is renewed. */
const RENEW_AUTHORITY_MS = 400 * 86_400_000;
const RENEW_CERTIFICATE_MS = 30 * 86_400_000;

/**
 * Identities for development below `dir`: an authority of this machine's own, one vehicle and one broker. Makes what is
 * missing (the authority for ten years, the others for one), renews what ends soon with the same key, and leaves the
 * rest alone. Several processes may do so at once: a directory appears complete under its name or not at all, and a
 * renewal replaces only the certificate.
 *
 * Never for a real vehicle: whoever reads `dir` can be any vehicle and any broker.
 * @throws KerbError BadIdentity for names that are none, a key that others can read, or a directory that cannot be made
 */
export async function ensureDevelopmentIdentities(
  dir: string,
  names: DevelopmentNames,
): Promise<DevelopmentIdentities> {
  checkId('vehicle', names.vehicle);
  checkId('broker', names.broker);
  checkTenant(names.tenant);
  const made: string[] = [];
  await mkdir(dir, { recursive: true, mode: 0o700 }).catch((cause: unknown) => {
    throw new KerbError(
      ErrorCode.BadIdentity,
      `cannot keep development identities in ${dir}: ${messageOf(cause)}; choose another state directory`,
      { dir },
      { cause },
    );
  });
  const authority = await ensureAuthority(join(dir, 'ca'), made);
  const vehicle = join(dir, `vehicle-${names.vehicle}`);
  const broker = join(dir, `broker-${names.broker}`);
  await ensureIdentity(vehicle, authority, { kind: 'vehicle', id: names.vehicle, tenant: names.tenant }, made);
  const hosts = ['localhost', '127.0.0.1', '::1'];
  await ensureIdentity(broker, authority, { kind: 'broker', id: names.broker, hosts }, made);
  return { vehicle, broker, made };
}

async function ensureAuthority(dir: string, made: string[]): Promise<Credentials> {
  if (!(await exists(dir))) {
    const { createAuthority } = await import('./authority.ts');
    const created = await createAuthority('Kerbside development CA');
    if (await publish(dir, created, undefined)) made.push(`made a development CA in ${dir}`);
  }
  // Read back in any case: another process may have been faster.
  const found = await readCredentials(dir).catch((error: unknown) => {
    throw new KerbError(
      ErrorCode.BadIdentity,
      `the development CA in ${dir} is damaged: ${messageOf(error)}; remove that directory and start again`,
      { dir },
      { cause: error },
    );
  });
  if (!endsWithin(found.certificate, RENEW_AUTHORITY_MS)) return found;
  const { createAuthority } = await import('./authority.ts');
  const renewed = await createAuthority('Kerbside development CA', undefined, found.key);
  await writeFileAtomically(join(dir, IDENTITY_FILES.certificate), renewed.certificate, { mode: 0o644 });
  made.push(`renewed the development CA in ${dir}`);
  return renewed;
}

async function readCredentials(dir: string): Promise<Credentials> {
  return {
    certificate: await readFile(join(dir, IDENTITY_FILES.certificate), 'utf8'),
    key: await readFile(join(dir, IDENTITY_FILES.key), 'utf8'),
  };
}

async function ensureIdentity(dir: string, authority: Credentials, subject: Subject, made: string[]): Promise<void> {
  const what = `the development identity of ${subject.kind} ${subject.id} in ${dir}`;
  if (await exists(dir)) {
    const state = await judge(dir, authority, subject);
    if (state === 'good') return;
    if (state === 'ends-soon') {
      const { issueCertificate } = await import('./authority.ts');
      const key = await readFile(join(dir, IDENTITY_FILES.key), 'utf8');
      const renewed = await issueCertificate(authority, subject, undefined, key);
      await writeFileAtomically(join(dir, IDENTITY_FILES.authorities), authority.certificate, { mode: 0o644 });
      await writeFileAtomically(join(dir, IDENTITY_FILES.certificate), renewed.certificate, { mode: 0o644 });
      made.push(`renewed ${what}`);
      return;
    }
    // Of an authority that is gone, or half deleted: out of the way at once, so that nobody reads half of it.
    await discard(dir);
  }
  const { issueCertificate } = await import('./authority.ts');
  const issued = await issueCertificate(authority, subject);
  if (await publish(dir, issued, authority.certificate)) made.push(`made ${what}`);
}

async function judge(dir: string, authority: Credentials, subject: Subject): Promise<'good' | 'ends-soon' | 'useless'> {
  let pem: string;
  try {
    pem = await readFile(join(dir, IDENTITY_FILES.certificate), 'utf8');
    const certificate = parseCertificate(pem, dir);
    const found = principalOf(certificate);
    const same =
      found.kind === subject.kind &&
      found.id === subject.id &&
      (subject.kind !== 'vehicle' || (found.kind === 'vehicle' && found.tenant === subject.tenant));
    if (!same || !isIssuedBy(certificate, parseCertificate(authority.certificate, 'the development CA')))
      return 'useless';
    if (endsWithin(pem, RENEW_CERTIFICATE_MS)) return 'ends-soon';
    await loadIdentity(dir, subject.kind);
    return 'good';
  } catch (error) {
    if (isErrno(error, 'ENOENT') || isKerbError(error, ErrorCode.BadIdentity)) return 'useless';
    throw error;
  }
}

function endsWithin(pem: string, ms: number): boolean {
  return parseCertificate(pem, 'a development certificate').validToDate.getTime() - Date.now() < ms;
}

/** Gives a complete directory its name. False when somebody else's has it already; that one is used then. */
function publish(dir: string, credentials: Credentials, authority: string | undefined): Promise<boolean> {
  return makeFolderAtomically(dir, (folder) => writeIdentity(folder, credentials, authority));
}

async function discard(dir: string): Promise<void> {
  const trash = `${dir}.${randomBytes(6).toString('hex')}`;
  try {
    await rename(dir, trash);
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return;
    throw error;
  }
  await rm(trash, { recursive: true, force: true });
}
