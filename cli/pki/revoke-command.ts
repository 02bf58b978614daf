import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { ErrorCode, isErrno, KerbError } from '../../shared/base/errors.ts';
import { writeFileAtomically } from '../../shared/host/atomic-write.ts';
import { readFault } from '../../shared/host/read-fault.ts';
import type { Credentials } from '../../shared/identity/authority.ts';
import { isIssuedBy, parseCertificate } from '../../shared/identity/certificate.ts';
import { readRevocations } from '../../shared/identity/revocations.ts';
import { IDENTITY_FILES, REVOCATIONS_FILE } from '../../shared/identity/x509-identity.ts';

interface RevokeOptions {
  readonly ca: string;
  readonly serial: readonly string[];
  readonly days?: number;
  readonly out?: string;
}

const SERIAL = /^[0-9A-F]{1,40}$/;

/** `kerb pki revoke`: makes the revocation list of an authority, or extends the one that is there. */
export function registerRevoke(pki: Command, parseDays: (text: string) => number): void {
  pki
    .command('revoke [certificates...]')
    .description(
      'put certificates on the revocation list of their authority; without any: make the list anew, for longer',
    )
    .requiredOption('--ca <dir>', 'directory of the authority; the list is its crl.pem')
    .option('--serial <serial...>', 'serial numbers, for certificates that are not at hand', toSerials, [])
    .option('--days <days>', 'days until a newer list has to be there (default: 45)', parseDays)
    .option('--out <file>', 'also write the list there, such as crl.pem of an identity directory')
    .action(revoke);
}

async function revoke(named: readonly string[], options: RevokeOptions): Promise<void> {
  const { createRevocationList } = await import('../../shared/identity/authority.ts');
  const authority: Credentials = {
    certificate: await readText(join(options.ca, IDENTITY_FILES.certificate)),
    key: await readText(join(options.ca, IDENTITY_FILES.key)),
  };
  const path = join(options.ca, REVOCATIONS_FILE);
  const serials = await revokedBefore(path, authority.certificate);
  const now = new Date();
  let added = 0;
  for (const serial of [...(await serialsOf(named, authority.certificate, options.ca)), ...options.serial]) {
    if (serials.has(serial)) continue;
    serials.set(serial, now);
    added++;
  }
  const list = await createRevocationList(authority, serials, options.days);
  await writeFileAtomically(path, list, { mode: 0o644 });
  if (options.out !== undefined) await writeFileAtomically(options.out, list, { mode: 0o644 });
  const { goodUntil } = readRevocations(list, [parseCertificate(authority.certificate, options.ca)], path);
  const where = options.out ?? path;
  console.log(
    `${added} more revoked, ${serials.size} altogether; put ${where} beside the ca.pem of those who are to know, and a newer one by ${goodUntil!.toISOString()}`,
  );
}

async function serialsOf(named: readonly string[], authorityPem: string, ca: string): Promise<string[]> {
  const authority = parseCertificate(authorityPem, ca);
  const serials: string[] = [];
  for (const name of named) {
    const isFolder = (await stat(name).catch(() => undefined))?.isDirectory() === true;
    const path = isFolder ? join(name, IDENTITY_FILES.certificate) : name;
    const certificate = parseCertificate(await readText(path), path);
    if (!isIssuedBy(certificate, authority)) {
      throw bad(
        `${path} was not issued by the authority in ${ca}, which cannot revoke it; give the --ca of its issuer`,
        path,
      );
    }
    serials.push(certificate.serialNumber);
  }
  return serials;
}

/** The revocations of this authority until now: the date of each, by serial number. */
async function revokedBefore(path: string, authorityPem: string): Promise<Map<string, Date>> {
  let pem: string;
  try {
    pem = await readFile(path, 'utf8');
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return new Map();
    throw bad(`${path} cannot be read: ${readFault(error)}`, path, error);
  }
  return readRevocations(pem, [parseCertificate(authorityPem, path)], path).serials();
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw bad(`${path} cannot be read: ${readFault(error)}`, path, error);
  }
}

function toSerials(text: string, before: readonly string[]): readonly string[] {
  const serial = text
    .replaceAll(':', '')
    .toUpperCase()
    .replace(/^0+(?=.)/, '');
  if (SERIAL.test(serial)) return [...before, serial];
  throw new InvalidArgumentError('a serial number is up to 40 hexadecimal digits; kerb pki show CERTIFICATE prints it');
}

function bad(message: string, path: string, cause?: unknown): KerbError {
  return new KerbError(ErrorCode.BadIdentity, message, { path }, cause === undefined ? undefined : { cause });
}
