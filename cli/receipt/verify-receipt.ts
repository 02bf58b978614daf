import { createHash, type X509Certificate } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ErrorCode, isErrno, KerbError } from '../../shared/base/errors.ts';
import { readFault } from '../../shared/host/read-fault.ts';
import { parseCertificate } from '../../shared/identity/certificate.ts';
import { Revocations, readRevocations } from '../../shared/identity/revocations.ts';
import { IDENTITY_FILES, REVOCATIONS_FILE } from '../../shared/identity/x509-identity.ts';
import { MAX_RECEIPT_BYTES, timeText, verifyReceipt } from '../../shared/v2e-client/receipt.ts';

/** `kerb broker serve` without `--identity` makes its authority there. */
const DEVELOPMENT_AUTHORITY = '.kerbside/identity/ca/certificate.pem';
const PEM = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g;
const BASE64 = /^[A-Za-z0-9+/\s]+={0,2}\s*$/;

export interface ReceiptFiles {
  readonly ca?: string;
  readonly identity?: string;
  /** Revocation lists of the authorities; undefined: the one of `identity`, where there is one. */
  readonly crl?: string;
  readonly input?: string;
  readonly output?: string;
}

/** A verified receipt, as `-o json` prints it. */
export interface ShownReceipt {
  readonly broker: string;
  readonly tenant: string;
  readonly vehicle: string;
  readonly id: string;
  readonly taskDigest: string;
  /** Hexadecimal. */
  readonly inputSha256: string;
  readonly outputSha256: string;
  readonly isolation: string;
  /** ISO 8601, UTC. */
  readonly startedAt: string;
  readonly queueMs: number;
  readonly runMs: number;
  readonly cpuMs: number;
  readonly batch: number;
  readonly authority: string;
  /** True when a revocation list of that authority was asked. */
  readonly revocationChecked: boolean;
  /** Which of the files were compared. */
  readonly compared: readonly ('input' | 'output')[];
}

/** @param file raw or base64; "-": standard input. @throws KerbError ReceiptInvalid | BadConfig | BadIdentity */
export async function verifyFile(file: string, files: ReceiptFiles): Promise<ShownReceipt> {
  const bytes = await readReceipt(file);
  const { input, output } = files;
  const authorities = await readAuthorities(files);
  const verified = verifyReceipt(bytes, {
    authorities,
    revocations: await readLists(files, authorities),
    inputSha256: input === undefined ? undefined : await hashOf(input),
    outputSha256: output === undefined ? undefined : await hashOf(output),
  });
  const hex = (hash: Uint8Array) => Buffer.from(hash).toString('hex');
  return {
    ...verified,
    inputSha256: hex(verified.inputSha256),
    outputSha256: hex(verified.outputSha256),
    startedAt: timeText(verified.startedAt),
    compared: [
      ...(input === undefined ? [] : (['input'] as const)),
      ...(output === undefined ? [] : (['output'] as const)),
    ],
  };
}

export function receiptLines(receipt: ShownReceipt): string[] {
  const { broker, authority, tenant, vehicle, id, taskDigest, isolation, startedAt, compared, batch } = receipt;
  const revoked = receipt.revocationChecked
    ? 'not revoked'
    : 'not checked: no list of this authority was given (--crl)';
  const checked = (what: 'input' | 'output') => (compared.includes(what) ? ', the same as the file' : '');
  const ms = (value: number) => `${Number(value.toFixed(3))} ms`;
  return [
    `valid: signed by broker ${broker}, which ${authority} vouches for${batch > 1 ? `, with ${batch - 1} others at once` : ''}`,
    `revocation ${revoked}`,
    `offload    ${id} of vehicle ${vehicle}, tenant ${tenant}`,
    `task       ${taskDigest}`,
    `input      sha256:${receipt.inputSha256}${checked('input')}`,
    `output     sha256:${receipt.outputSha256}${checked('output')}`,
    `isolation  ${isolation}`,
    `run        ${startedAt}, ${ms(receipt.runMs)} of which it computed ${ms(receipt.cpuMs)}, after ${ms(receipt.queueMs)} in the queue`,
  ];
}

async function readReceipt(file: string): Promise<Buffer> {
  const stream = file === '-' ? process.stdin : createReadStream(file, { end: MAX_RECEIPT_BYTES });
  const parts: Buffer[] = [];
  let size = 0;
  try {
    for await (const part of stream as AsyncIterable<Buffer>) {
      parts.push(part);
      size += part.length;
      if (size > MAX_RECEIPT_BYTES) break;
    }
  } catch (error) {
    throw cannotRead(file, error);
  }
  if (size > MAX_RECEIPT_BYTES || size === 0) {
    const what = size === 0 ? 'is empty' : `holds more than ${MAX_RECEIPT_BYTES} bytes`;
    throw new KerbError(ErrorCode.ReceiptInvalid, `the receipt is not valid: ${file} ${what}`, { file });
  }
  const bytes = Buffer.concat(parts);
  const text = bytes.toString('latin1');
  return BASE64.test(text) ? Buffer.from(text, 'base64') : bytes;
}

async function readAuthorities({ ca, identity }: ReceiptFiles): Promise<X509Certificate[]> {
  const path = ca ?? (identity === undefined ? DEVELOPMENT_AUTHORITY : join(identity, IDENTITY_FILES.authorities));
  const pem = await readFile(path, 'utf8').catch((error: unknown) => {
    if (ca !== undefined || identity !== undefined) throw cannotRead(path, error);
    const message = `--ca or --identity is required: there is no development authority in ${DEVELOPMENT_AUTHORITY}`;
    throw new KerbError(ErrorCode.BadConfig, message, { path });
  });
  const found = pem.match(PEM) ?? [pem];
  return found.map((one) => parseCertificate(one, path));
}

/**
 * A list that is past its time is used all the same: what it revoked stays revoked, and a receipt may be looked at years
 * after its authority has ended.
 */
async function readLists(
  { crl, identity }: ReceiptFiles,
  authorities: readonly X509Certificate[],
): Promise<Revocations> {
  if (crl === undefined && identity === undefined) return new Revocations();
  const path = crl ?? join(identity!, REVOCATIONS_FILE);
  let pem: string;
  try {
    pem = await readFile(path, 'utf8');
  } catch (error) {
    if (crl === undefined && isErrno(error, 'ENOENT')) return new Revocations();
    throw cannotRead(path, error);
  }
  return readRevocations(pem, authorities, path);
}

async function hashOf(file: string): Promise<Buffer> {
  const hash = createHash('sha256');
  try {
    for await (const part of createReadStream(file)) hash.update(part as Buffer);
  } catch (error) {
    throw cannotRead(file, error);
  }
  return hash.digest();
}

function cannotRead(file: string, error: unknown): KerbError {
  return new KerbError(ErrorCode.BadConfig, `cannot read ${file}: ${readFault(error)}`, { file }, { cause: error });
}
