import { createHash, type KeyObject, sign, verify, X509Certificate } from 'node:crypto';
import { promisify } from 'node:util';
import { messageOf } from '../base/errors.ts';
import type { Identity } from '../identity/identity.ts';
import type { Announcement } from './announcement.ts';

const signLater = promisify(sign) as (digest: string | null, data: Uint8Array, key: KeyObject) => Promise<Buffer>;

/** In front of what is signed, so that no signature for something else passes for one of an announcement. */
const PURPOSE = Buffer.from('kerbside announcement v1\n');

/** On a thread of Node's pool. @throws Error when the key of this identity does not sign */
export async function signFacts(signed: Uint8Array, key: KeyObject): Promise<Buffer> {
  return await signLater(digestOf(key), Buffer.concat([PURPOSE, signed]), key);
}

/** SHA-256 of a certificate in DER, as lowercase hexadecimal digits. */
export function certificateHashOf(certificate: Uint8Array): string {
  return createHash('sha256').update(certificate).digest('hex');
}

/**
 * Why an announcement is not believed with this certificate; empty: it is.
 * @param certificate DER
 */
export function faultOf(
  { facts, signed, signature }: Announcement,
  certificate: Uint8Array,
  identity: Identity,
): string {
  try {
    if (certificateHashOf(certificate) !== facts.certificateHash) return 'it names another certificate';
    const principal = identity.principalOf(certificate);
    if (principal.kind !== 'broker' || principal.id !== facts.broker) {
      return `its certificate is of ${principal.kind} ${principal.id}`;
    }
    const { publicKey } = new X509Certificate(certificate);
    const isGood = verify(digestOf(publicKey), Buffer.concat([PURPOSE, signed]), publicKey, signature);
    return isGood ? '' : 'its signature is wrong';
  } catch (error) {
    return messageOf(error);
  }
}

function digestOf({ asymmetricKeyType }: KeyObject): 'sha256' | null {
  return asymmetricKeyType === 'ed25519' || asymmetricKeyType === 'ed448' ? null : 'sha256';
}
