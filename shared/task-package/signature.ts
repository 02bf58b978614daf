/**
 * Signatures of task packages. What is signed is an in-toto statement (v1) about the digest of the package, which is the
 * digest of everything in it; it is wrapped in a DSSE envelope in a Sigstore bundle (v0.3), which names the key by its id
 * and needs no certificate, no log and no network. The bundle lies in the package as one more OCI manifest, whose
 * `subject` is the package.
 */
import { sign } from 'node:crypto';
import {
  bundleFromJSON,
  bundleToJSON,
  isBundleWithDsseEnvelope,
  isBundleWithPublicKey,
  toDSSEBundle,
} from '@sigstore/bundle';
import { toSignedEntity, toTrustMaterial, VerificationError, Verifier } from '@sigstore/verify';
import { z } from 'zod';
import { ErrorCode, KerbError, messageOf } from '../base/errors.ts';
import { MAX_SIGNATURES } from './format.ts';
import { readSignatures, type TaskPackage } from './reader.ts';
import type { Signer, TrustedKeys } from './signer.ts';
import { addSignature } from './writer.ts';

export const SIGNATURE_DAYS = 365;

const PAYLOAD_TYPE = 'application/vnd.in-toto+json';
const STATEMENT_TYPE = 'https://in-toto.io/Statement/v1';
const PREDICATE_TYPE = 'urn:kerbside:task-signature:v1';
const DAY_MS = 86_400_000;

const time = z.iso.datetime().transform((text) => new Date(text));
const statementSchema = z.object({
  _type: z.literal(STATEMENT_TYPE),
  subject: z.array(z.object({ name: z.string(), digest: z.object({ sha256: z.string() }) })).length(1),
  predicateType: z.literal(PREDICATE_TYPE),
  predicate: z.object({ signedAt: time, expiresAt: time }),
});

/** One signature of a package, as far as it can be read. */
export interface Signature {
  /** Of the key that is said to have made it. */
  readonly keyId: string;
  readonly signedAt: Date;
  readonly expiresAt: Date;
}

export interface TrustedSignature extends Signature {
  /** The name under which its key is trusted. */
  readonly signer: string;
}

/** Signs a package that has been read, and puts the signature into it; one of the same key is replaced. */
export async function signTaskPackage(
  taskPackage: TaskPackage,
  signer: Signer,
  days: number = SIGNATURE_DAYS,
  now: number = Date.now(),
): Promise<Signature> {
  const signedAt = new Date(now);
  const expiresAt = new Date(now + days * DAY_MS);
  const statement = {
    _type: STATEMENT_TYPE,
    subject: [{ name: taskPackage.config.name, digest: { sha256: hexOf(taskPackage.digest) } }],
    predicateType: PREDICATE_TYPE,
    predicate: { signedAt: signedAt.toISOString(), expiresAt: expiresAt.toISOString() },
  };
  const payload = Buffer.from(JSON.stringify(statement));
  const bundle = toDSSEBundle({
    artifact: payload,
    artifactType: PAYLOAD_TYPE,
    signature: sign('sha256', preAuthEncoding(PAYLOAD_TYPE, payload), signer.key),
    keyHint: signer.keyId,
  });
  const others: Buffer[] = [];
  for (const bytes of await readSignatures(taskPackage)) {
    const old = attempt(() => read(bytes, taskPackage));
    if (old?.signature.keyId !== signer.keyId) others.push(bytes);
  }
  await addSignature(taskPackage, [...others, Buffer.from(JSON.stringify(bundleToJSON(bundle)))]);
  return { keyId: signer.keyId, signedAt, expiresAt };
}

/** What the signatures of a package say of themselves; nothing of it is checked. */
export async function listSignatures(taskPackage: TaskPackage): Promise<Signature[]> {
  return (await readSignatures(taskPackage)).map((bytes) => read(bytes, taskPackage).signature);
}

/**
 * Finds a signature by a trusted key on exactly this package. To be called before anything of the package is run.
 * @throws KerbError TaskUnsigned, TaskSignerUnknown, TaskSignatureInvalid, TaskSignatureExpired; of several signatures
 * the one that came closest to being good is named. BadTaskPackage, TaskPackageDigestMismatch: it cannot be read
 */
export async function verifyTaskPackage(
  taskPackage: TaskPackage,
  trusted: TrustedKeys,
  now: number = Date.now(),
): Promise<TrustedSignature> {
  return (await trustedSignatures(taskPackage, trusted, now))[0]!;
}

/** All signatures by trusted keys, at least one, in the order of the package. @throws as `verifyTaskPackage` */
export async function trustedSignatures(
  taskPackage: TaskPackage,
  trusted: TrustedKeys,
  now: number = Date.now(),
): Promise<TrustedSignature[]> {
  return (await goodBundles(taskPackage, trusted, now)).map(({ signature }) => signature);
}

/**
 * Gives to a package the good signatures of another copy of it as well; of one key the one that is good for longer stays.
 * What is not good in either goes. @throws KerbError as `verifyTaskPackage`, of `into`
 */
export async function mergeSignatures(into: TaskPackage, from: TaskPackage, trusted: TrustedKeys): Promise<void> {
  const now = Date.now();
  const own = await goodBundles(into, trusted, now);
  const others = await goodBundles(from, trusted, now).catch(() => []);
  const byKey = new Map<string, GoodBundle>();
  for (const one of [...own, ...others]) {
    const known = byKey.get(one.signature.keyId);
    if (known === undefined || known.signature.expiresAt < one.signature.expiresAt) {
      byKey.set(one.signature.keyId, one);
    }
  }
  const kept = [...byKey.values()].slice(0, MAX_SIGNATURES);
  await addSignature(
    into,
    kept.map(({ bytes }) => bytes),
  );
}

interface GoodBundle {
  readonly bytes: Buffer;
  readonly signature: TrustedSignature;
}

async function goodBundles(taskPackage: TaskPackage, trusted: TrustedKeys, now: number): Promise<GoodBundle[]> {
  const what = `task ${taskPackage.config.name} ${taskPackage.config.version} in ${taskPackage.dir}`;
  const found = await readSignatures(taskPackage);
  const refuse = (code: ErrorCode, sentence: string): KerbError =>
    new KerbError(code, `${what} ${sentence}`, { dir: taskPackage.dir, digest: taskPackage.digest });
  let closest = refuse(ErrorCode.TaskUnsigned, 'is not signed; its maker signs it with `kerb task sign`');
  const good: GoodBundle[] = [];
  for (const bytes of found) {
    try {
      good.push({ bytes, signature: verifyOne(bytes, taskPackage, trusted, now, refuse) });
    } catch (error) {
      if (!(error instanceof KerbError)) throw error;
      if (rank(error) > rank(closest)) closest = error;
    }
  }
  if (good.length === 0) throw closest;
  return good;
}

const RANKS: readonly ErrorCode[] = [
  ErrorCode.TaskUnsigned,
  ErrorCode.TaskSignerUnknown,
  ErrorCode.TaskSignatureInvalid,
  ErrorCode.TaskSignatureExpired,
];
const rank = (error: KerbError): number => RANKS.indexOf(error.code);

function verifyOne(
  bytes: Buffer,
  taskPackage: TaskPackage,
  trusted: TrustedKeys,
  now: number,
  refuse: (code: ErrorCode, sentence: string) => KerbError,
): TrustedSignature {
  let content: ReturnType<typeof read>;
  try {
    content = read(bytes, taskPackage);
  } catch (error) {
    throw refuse(ErrorCode.TaskSignatureInvalid, `has a signature that cannot be read: ${messageOf(error)}`);
  }
  const { bundle, signature, subject } = content;
  const signer = trusted.get(signature.keyId);
  if (signer === undefined) {
    throw refuse(
      ErrorCode.TaskSignerUnknown,
      `is signed by a key that is not trusted here (${signature.keyId.slice(0, 16)}…); whoever trusts it adds it with --trust`,
    );
  }
  // Nothing but the key that was given to us counts: no logs, no time stamps, no certificates.
  const keys = { [signature.keyId]: { rawBytes: signer.key.export({ type: 'spki', format: 'der' }) } };
  const material = toTrustMaterial(
    { certificateAuthorities: [], timestampAuthorities: [], tlogs: [], ctlogs: [] } as never,
    keys as never,
  );
  const verifier = new Verifier(material, { ctlogThreshold: 0, tlogThreshold: 0, timestampThreshold: 0 });
  try {
    verifier.verify(toSignedEntity(bundle));
  } catch (error) {
    if (!(error instanceof VerificationError)) throw error;
    throw refuse(
      ErrorCode.TaskSignatureInvalid,
      `has a signature that ${signer.name} has not made: it was tampered with; fetch the package again`,
    );
  }
  if (subject !== hexOf(taskPackage.digest)) {
    throw refuse(
      ErrorCode.TaskSignatureInvalid,
      `carries a signature by ${signer.name} of another package, sha256:${subject}; it was tampered with`,
    );
  }
  if (signature.expiresAt.getTime() <= now) {
    throw refuse(
      ErrorCode.TaskSignatureExpired,
      `has a signature by ${signer.name} that expired at ${signature.expiresAt.toISOString()}; have it signed again`,
    );
  }
  if (signature.signedAt.getTime() > now + DAY_MS) {
    throw refuse(
      ErrorCode.TaskSignatureInvalid,
      `has a signature by ${signer.name} of ${signature.signedAt.toISOString()}, which is still to come; check the clock`,
    );
  }
  return { ...signature, signer: signer.name };
}

/** A bundle as far as it can be read; throws an Error with a sentence for what is none of ours. */
function read(bytes: Buffer, { dir }: TaskPackage) {
  const bad = (what: string, cause?: unknown) =>
    new KerbError(ErrorCode.TaskSignatureInvalid, `a signature in ${dir} ${what}`, { dir }, { cause });
  let bundle: ReturnType<typeof bundleFromJSON>;
  try {
    bundle = bundleFromJSON(JSON.parse(bytes.toString('utf8')));
  } catch (error) {
    throw bad(`is not a valid Sigstore bundle: ${messageOf(error)}`, error);
  }
  if (!isBundleWithDsseEnvelope(bundle) || !isBundleWithPublicKey(bundle)) {
    throw bad('is not a valid DSSE envelope: it must name a public key');
  }
  const { payloadType, payload, signatures } = bundle.content.dsseEnvelope;
  if (payloadType !== PAYLOAD_TYPE || signatures.length !== 1) {
    throw bad(`holds ${signatures.length} signatures of a ${payloadType}; one of ${PAYLOAD_TYPE} is needed`);
  }
  let statement: z.infer<typeof statementSchema>;
  try {
    statement = statementSchema.parse(JSON.parse(payload.toString('utf8')));
  } catch (error) {
    throw bad('signs something that is not a statement about a task package', error);
  }
  const keyId = bundle.verificationMaterial.content.publicKey.hint;
  const { signedAt, expiresAt } = statement.predicate;
  return { bundle, subject: statement.subject[0]!.digest.sha256, signature: { keyId, signedAt, expiresAt } };
}

/** What DSSE signs (v1, pre-authentication encoding): the type is signed with the bytes, so neither passes for another. */
function preAuthEncoding(type: string, payload: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`DSSEv1 ${Buffer.byteLength(type)} ${type} ${payload.length} `), payload]);
}

function hexOf(digest: string): string {
  return digest.slice(digest.indexOf(':') + 1);
}

function attempt<T>(action: () => T): T | undefined {
  try {
    return action();
  } catch {
    return undefined;
  }
}
