import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import { readFault } from '../../shared/host/read-fault.ts';
import type { Credentials } from '../../shared/identity/authority.ts';
import { alternativeNames, parseCertificate, principalOf } from '../../shared/identity/certificate.ts';
import { writeIdentity } from '../../shared/identity/files.ts';
import { checkId, checkTenant } from '../../shared/identity/identity.ts';
import { IDENTITY_FILES } from '../../shared/identity/x509-identity.ts';
import { registerRevoke } from './revoke-command.ts';

interface IssueOptions {
  readonly ca: string;
  readonly out: string;
  readonly days?: number;
  readonly force?: boolean;
}

/** `kerb pki`: an authority, the certificates of vehicles, brokers and operators, and keys of task signers. */
export function registerPkiCommands(program: Command): void {
  const pki = program
    .command('pki')
    .description(
      'make, look at and revoke the certificates of vehicles, brokers and operators, make keys of task signers',
    );

  registerCa(pki);
  registerVehicle(pki);
  registerBroker(pki);
  registerOperator(pki);
  registerRevoke(pki, parseDays);
  registerTaskSigner(pki);
  registerShow(pki);
}

function registerCa(pki: Command): void {
  pki
    .command('ca')
    .description('the authority that issues them')
    .command('create')
    .description('make an authority; guard its key, which can make any vehicle and any broker')
    .requiredOption('--out <dir>', 'directory for certificate.pem and key.pem')
    .option('--name <name>', 'name of the authority', 'Kerbside CA')
    .option('--days <days>', 'days of validity (default: 3650)', parseDays)
    .option('--force', 'replace a key that is there')
    .action(async (options: { out: string; name: string; days?: number; force?: boolean }) => {
      checkTenant(options.name);
      const { createAuthority } = await import('../../shared/identity/authority.ts');
      await writeIdentity(options.out, await createAuthority(options.name, options.days), undefined, options.force);
      console.log(`authority ${options.name} in ${options.out}; publish its certificate.pem, keep its key.pem secret`);
    });
}

function registerVehicle(pki: Command): void {
  issuing(pki.command('vehicle <id>').description('make the identity of a vehicle'))
    .requiredOption('--tenant <organisation>', 'tenant that pays for its offloads')
    .action(async (id: string, options: IssueOptions & { tenant: string }) => {
      checkId('vehicle', id);
      const { issueCertificate } = await import('../../shared/identity/authority.ts');
      const authority = await readAuthority(options.ca);
      const issued = await issueCertificate(authority, { kind: 'vehicle', id, tenant: options.tenant }, options.days);
      await writeIdentity(options.out, issued, authority.certificate, options.force);
      console.log(`identity of vehicle ${id}, tenant ${options.tenant}, in ${options.out}`);
    });
}

function registerBroker(pki: Command): void {
  issuing(pki.command('broker <id>').description('make the identity of a broker'))
    .option(
      '--host <name...>',
      'host names and addresses to put in, for clients that check them; vehicles check the id alone',
      [],
    )
    .action(async (id: string, options: IssueOptions & { host: string[] }) => {
      checkId('broker', id);
      const { issueCertificate } = await import('../../shared/identity/authority.ts');
      const authority = await readAuthority(options.ca);
      const issued = await issueCertificate(authority, { kind: 'broker', id, hosts: options.host }, options.days);
      await writeIdentity(options.out, issued, authority.certificate, options.force);
      console.log(`identity of broker ${id} in ${options.out}; vehicles know it by this id, whatever its address`);
    });
}

function registerOperator(pki: Command): void {
  issuing(
    pki.command('operator <id>').description('make the identity of an operator, who may control the OBUs that name it'),
  ).action(async (id: string, options: IssueOptions) => {
    checkId('operator', id);
    const { issueCertificate } = await import('../../shared/identity/authority.ts');
    const authority = await readAuthority(options.ca);
    const issued = await issueCertificate(authority, { kind: 'operator', id }, options.days);
    await writeIdentity(options.out, issued, authority.certificate, options.force);
    console.log(
      `identity of operator ${id} in ${options.out}; OBUs that name it under api.operators accept its commands`,
    );
  });
}

function registerTaskSigner(pki: Command): void {
  pki
    .command('task-signer <name>')
    .description('make the key with which tasks are signed, and its public half for those who trust it')
    .requiredOption('--out <dir>', 'directory for key.pem and public/NAME.pem')
    .option('--force', 'replace a key that is there')
    .action(async (name: string, options: { out: string; force?: boolean }) => {
      const { createSigner, SIGNER_PUBLIC } = await import('../../shared/task-package/signer.ts');
      await createSigner(options.out, name, options.force);
      console.log(
        `task signer ${name} in ${options.out}; give ${join(options.out, SIGNER_PUBLIC, `${name}.pem`)} to the brokers (--trust), keep its key.pem secret`,
      );
    });
}

function registerShow(pki: Command): void {
  pki
    .command('show <path>')
    .description('print the subject, issuer and validity of a certificate, or of that in an identity folder')
    .action(async (named: string) => {
      for (const [name, value] of await certificateLines(named)) console.log(`${name.padEnd(10)}  ${value}`);
    });
}

/** What a certificate says, or that of an identity folder: names and values. @throws KerbError BadIdentity */
async function certificateLines(named: string): Promise<readonly [string, string][]> {
  const isFolder = (await stat(named).catch(() => undefined))?.isDirectory() === true;
  const path = isFolder ? join(named, IDENTITY_FILES.certificate) : named;
  const certificate = parseCertificate(await readText(path), path);
  const lines: [string, string][] = [
    ['subject', certificate.subject.replaceAll('\n', ', ')],
    ['issuer', certificate.issuer.replaceAll('\n', ', ')],
    [
      'names',
      alternativeNames(certificate)
        .map(({ type, value }) => `${type}:${value}`)
        .join(', ') || '-',
    ],
    ['valid from', certificate.validFromDate.toISOString()],
    [
      'valid to',
      `${certificate.validToDate.toISOString()}${certificate.validToDate.getTime() < Date.now() ? ' (EXPIRED)' : ''}`,
    ],
    ['serial', certificate.serialNumber],
    ['sha256', certificate.fingerprint256],
  ];
  if (certificate.ca) {
    lines.unshift(['speaks for', 'an authority']);
  } else {
    const found = principalOf(certificate);
    lines.unshift([
      'speaks for',
      `${found.kind} ${found.id}${found.kind === 'vehicle' ? `, tenant ${found.tenant}` : ''}`,
    ]);
  }
  return lines;
}

function issuing(command: Command): Command {
  return command
    .requiredOption('--ca <dir>', 'directory of the authority')
    .requiredOption('--out <dir>', 'directory for certificate.pem, key.pem and ca.pem')
    .option('--days <days>', 'days of validity (default: 365)', parseDays)
    .option('--force', 'replace a key that is there');
}

async function readAuthority(dir: string): Promise<Credentials> {
  return {
    certificate: await readText(join(dir, IDENTITY_FILES.certificate)),
    key: await readText(join(dir, IDENTITY_FILES.key)),
  };
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw new KerbError(
      ErrorCode.BadIdentity,
      `${path} cannot be read: ${readFault(error)}`,
      { path },
      { cause: error },
    );
  }
}

function parseDays(text: string): number {
  const days = Number(text);
  if (!Number.isInteger(days) || days < 1)
    throw new InvalidArgumentError('a whole number of days, 1 or more, is needed');
  return days;
}
