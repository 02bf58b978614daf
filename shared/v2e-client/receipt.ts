/** Receipts of offloads (SignedReceipt in shared/protocol/v2e.proto): what is signed, and how it is checked. */
import { type KeyObject, verify, X509Certificate } from 'node:crypto';
import { ErrorCode, KerbError, messageOf } from '../base/errors.ts';
import { isIssuedBy, oneLine, principalOf } from '../identity/certificate.ts';
import type { Revocations } from '../identity/revocations.ts';
import { kerbside } from '../protocol/generated/v2e.js';
import { leafHash, rootFrom } from '../protocol/merkle.ts';

const { Receipt, SignedReceipt } = kerbside.v2e;

/** Of a file with a receipt, also as base64: a batch of 2^32 receipts has a way of 1 KiB. */
export const MAX_RECEIPT_BYTES = 64 * 1024;
const MAX_PATH = 32;
const PREFIX = Buffer.from('kerbside receipt v1\n');

/** The facts of one run. Times in milliseconds. */
export interface ReceiptFacts {
  readonly broker: string;
  readonly tenant: string;
  readonly vehicle: string;
  /** Of the offload. */
  readonly id: string;
  readonly taskDigest: string;
  readonly inputSha256: Uint8Array;
  readonly outputSha256: Uint8Array;
  readonly isolation: string;
  /** Of the run, since 1970 on the clock of the broker. */
  readonly startedAt: number;
  readonly queueMs: number;
  readonly runMs: number;
  readonly cpuMs: number;
}

export interface VerifiedReceipt extends ReceiptFacts {
  /** Receipts that were signed together with this one, itself included. */
  readonly batch: number;
  /** Subject of the authority that issued the certificate of the broker. */
  readonly authority: string;
  /** True when a revocation list of that authority was asked. */
  readonly revocationChecked: boolean;
}

export interface ReceiptChecks {
  /** One of them has to have issued the certificate of the broker. */
  readonly authorities: readonly X509Certificate[];
  /** The certificates that they have revoked. */
  readonly revocations?: Revocations | undefined;
  /** SHA-256 of what the input and the output are said to have been; undefined: not checked. */
  readonly inputSha256?: Uint8Array | undefined;
  readonly outputSha256?: Uint8Array | undefined;
}

/** The bytes that a broker signs for a tree of receipts. */
export function signedBytes(root: Uint8Array): Buffer {
  return Buffer.concat([PREFIX, root]);
}

/**
 * The digest that `sign` and `verify` of node:crypto want for a key: null for those that hash by themselves.
 * Undefined: such a key does not sign.
 */
export function digestOfKey(key: KeyObject): 'sha256' | null | undefined {
  switch (key.asymmetricKeyType) {
    case 'ec':
    case 'rsa':
    case 'rsa-pss':
      return 'sha256';
    case 'ed25519':
    case 'ed448':
      return null;
    default:
      return undefined;
  }
}

/**
 * Checks a SignedReceipt: signature, certificate, and the hashes that were given.
 * @throws KerbError ReceiptInvalid
 */
export function verifyReceipt(bytes: Uint8Array, checks: ReceiptChecks): VerifiedReceipt {
  const { receipt, signature, certificate: der, leaf, leaves, path } = decode('SignedReceipt', SignedReceipt, bytes);
  const facts = decode('Receipt', Receipt, receipt);
  if (facts.inputSha256.length !== 32 || facts.outputSha256.length !== 32 || !Number.isFinite(facts.startedAt)) {
    throw invalid('it lacks the hashes of input and output, or the time of the run');
  }
  const certificate = certificateFrom(der);
  // Signed alone is the same as a tree of one.
  const root = path.length > MAX_PATH ? undefined : rootFrom(leafHash(receipt), leaf, Math.max(1, leaves), path);
  if (root === undefined)
    throw invalid(`it is not in the batch that it names: no way leads from it to the signed root`);
  if (!isSigned(certificate.publicKey, root, signature)) {
    throw invalid('the signature does not belong to this receipt and certificate: one of them has been changed');
  }
  const issuer = checkCertificate(certificate, facts, checks.authorities);
  checkNotRevoked(certificate, issuer, facts, checks.revocations);
  checkHash('input', facts.inputSha256, checks.inputSha256);
  checkHash('output', facts.outputSha256, checks.outputSha256);
  const { broker, tenant, vehicle, id, taskDigest, inputSha256, outputSha256, isolation } = facts;
  const { startedAt, queueMs, runMs, cpuMs } = facts;
  return {
    ...{ broker, tenant, vehicle, id, taskDigest, inputSha256, outputSha256, isolation },
    ...{ startedAt, queueMs, runMs, cpuMs },
    batch: Math.max(1, leaves),
    authority: oneLine(issuer.subject),
    revocationChecked: checks.revocations?.covers(issuer) ?? false,
  };
}

function isSigned(key: KeyObject, root: Buffer, signature: Uint8Array): boolean {
  const digest = digestOfKey(key);
  if (digest === undefined) throw invalid(`a key of type ${key.asymmetricKeyType} does not sign receipts`);
  try {
    return verify(digest, signedBytes(root), key, signature);
  } catch {
    return false;
  }
}

/** @returns the authority that has issued it */
function checkCertificate(
  certificate: X509Certificate,
  { broker, startedAt }: Pick<ReceiptFacts, 'broker' | 'startedAt'>,
  authorities: readonly X509Certificate[],
): X509Certificate {
  const signer = principalFrom(certificate);
  if (signer.kind !== 'broker' || signer.id !== broker) {
    throw invalid(`it says that broker ${broker} ran the task, but ${signer.kind} ${signer.id} has signed it`);
  }
  const issuer = authorities.find((authority) => isIssuedBy(certificate, authority));
  if (issuer === undefined) {
    throw invalid(
      `the certificate of broker ${broker} was issued by none of the given authorities (its issuer: ${oneLine(certificate.issuer)})`,
    );
  }
  const owned = [
    { whose: `the certificate of broker ${broker}`, of: certificate },
    { whose: `the authority ${oneLine(issuer.subject)}`, of: issuer },
  ];
  for (const { whose, of } of owned) {
    const [from, to] = [of.validFromDate, of.validToDate];
    if (startedAt >= from.getTime() && startedAt <= to.getTime()) continue;
    throw invalid(
      `${whose} was not valid when the task ran: it is from ${from.toISOString()} to ${to.toISOString()}, and the run began at ${timeText(startedAt)}`,
    );
  }
  return issuer;
}

/** Whoever has the key of a revoked certificate dates receipts as he likes: they are not believed, whenever they say it was. */
function checkNotRevoked(
  certificate: X509Certificate,
  issuer: X509Certificate,
  { broker, startedAt }: Pick<ReceiptFacts, 'broker' | 'startedAt'>,
  revocations: Revocations | undefined,
): void {
  const since = revocations?.since(certificate, issuer);
  if (since === undefined) return;
  throw invalid(
    `the certificate ${certificate.serialNumber} of broker ${broker} was revoked on ${since.toISOString()}, and it cannot be known which receipts its key has signed since (this one says ${timeText(startedAt)}); ask the broker's operator for another proof`,
  );
}

function checkHash(what: 'input' | 'output', signed: Uint8Array, given: Uint8Array | undefined): void {
  if (given === undefined || Buffer.compare(signed, given) === 0) return;
  throw invalid(
    `it is about another ${what}: SHA-256 ${Buffer.from(signed).toString('hex')}, and that of the file is ${Buffer.from(given).toString('hex')}`,
  );
}

function decode<T>(what: string, type: { decode(bytes: Uint8Array): T }, bytes: Uint8Array): T {
  try {
    return type.decode(bytes);
  } catch (cause) {
    throw invalid(`it is not a valid ${what}: ${messageOf(cause)}`, cause);
  }
}

function certificateFrom(der: Uint8Array): X509Certificate {
  try {
    const certificate = new X509Certificate(der);
    void certificate.publicKey; // of a kind that is not known here, it throws only now
    return certificate;
  } catch (cause) {
    throw invalid(`the certificate in it cannot be read: ${messageOf(cause)}`, cause);
  }
}

function principalFrom(certificate: X509Certificate) {
  try {
    return principalOf(certificate);
  } catch (cause) {
    throw invalid(messageOf(cause), cause);
  }
}

/** A time outside of what a date can say is printed as it is. */
export function timeText(ms: number): string {
  return Math.abs(ms) <= 8.64e15 ? new Date(ms).toISOString() : `${ms} ms after 1970`;
}

function invalid(why: string, cause?: unknown): KerbError {
  return new KerbError(ErrorCode.ReceiptInvalid, `the receipt is not valid: ${why}`, {}, { cause });
}
