import { type KeyObject, sign, verify, X509Certificate } from 'node:crypto';
import { ErrorCode, KerbError, messageOf } from '../base/errors.ts';
import type { Identity } from '../identity/identity.ts';
import { kerbside } from '../protocol/generated/v2e.js';
import { digestOfKey } from './receipt.ts';

const { ClaimGrant, ClaimToken } = kerbside.v2e;

const PURPOSE = Buffer.from('kerbside claim v1\n');
/** Clocks may differ by so much, in milliseconds; a token that is older is not taken. */
export const CLAIM_WINDOW_MS = 10 * 60_000;
/** Bytes of a token: a certificate and little more. */
const MAX_TOKEN = 8192;

/** One result that a vehicle lets another broker have. */
export interface Claim {
  /** Of the offload. */
  readonly id: string;
  /** The broker that has it, and the one that may have it. */
  readonly from: string;
  readonly to: string;
}

export interface VerifiedClaim extends Claim {
  readonly tenant: string;
  readonly vehicle: string;
}

/** @param identity of the vehicle @throws KerbError BadIdentity when its key does not sign */
export function makeClaimToken(identity: Identity, claim: Claim, now: number = Date.now()): Buffer {
  const { key, certificate } = identity.signingKey();
  const grant = Buffer.from(ClaimGrant.encode({ ...claim, vehicle: identity.self.id, issuedAt: now }).finish());
  const signature = sign(digestFor(key), Buffer.concat([PURPOSE, grant]), key);
  return Buffer.from(ClaimToken.encode({ claim: grant, signature, certificate }).finish());
}

/**
 * @param identity whose authorities are asked
 * @throws KerbError BadOffloadRequest: it is not a token, or not signed by this vehicle, or too old; BadIdentity |
 * CertificateRevoked: the certificate of the vehicle
 */
export function verifyClaimToken(token: Uint8Array, identity: Identity, now: number = Date.now()): VerifiedClaim {
  if (token.length > MAX_TOKEN) throw bad(`it has more than ${MAX_TOKEN} bytes`);
  let grant: ReturnType<typeof ClaimGrant.decode>;
  let parsed: ReturnType<typeof ClaimToken.decode>;
  try {
    parsed = ClaimToken.decode(token);
    grant = ClaimGrant.decode(parsed.claim);
  } catch (error) {
    throw bad(messageOf(error));
  }
  const principal = identity.principalOf(parsed.certificate);
  if (principal.kind !== 'vehicle' || principal.id !== grant.vehicle)
    throw bad('its certificate is of another vehicle');
  const { publicKey } = new X509Certificate(parsed.certificate);
  if (!isSigned(publicKey, Buffer.from(parsed.claim), parsed.signature)) throw bad('its signature is wrong');
  if (Math.abs(now - Number(grant.issuedAt)) > CLAIM_WINDOW_MS) throw bad('it is too old, or a clock is wrong');
  const { id, from, to } = grant;
  return { id, from, to, tenant: principal.tenant, vehicle: principal.id };
}

function isSigned(key: KeyObject, grant: Buffer, signature: Uint8Array): boolean {
  try {
    return verify(digestFor(key), Buffer.concat([PURPOSE, grant]), key, signature);
  } catch {
    return false;
  }
}

function digestFor(key: KeyObject): 'sha256' | null {
  const digest = digestOfKey(key);
  if (digest === undefined)
    throw new KerbError(ErrorCode.BadIdentity, `a key of type ${key.asymmetricKeyType} does not sign`);
  return digest;
}

function bad(why: string): KerbError {
  return new KerbError(ErrorCode.BadOffloadRequest, `the token of a claim is not valid: ${why}`);
}
