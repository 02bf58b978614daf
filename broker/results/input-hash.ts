import { webcrypto } from 'node:crypto';
import { digestOf } from '../../shared/base/once/once.ts';

/** Larger ones are hashed on a thread of Node's pool. */
const MAX_AT_ONCE = 256 * 1024;

export function isHashedAtOnce(bytes: Uint8Array): boolean {
  return bytes.length <= MAX_AT_ONCE;
}

/** SHA-256 as base64; the event loop does not wait for that of a large one. */
export async function sha256Of(bytes: Uint8Array): Promise<string> {
  if (isHashedAtOnce(bytes)) return digestOf(bytes);
  const hash = await webcrypto.subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>);
  return Buffer.from(hash).toString('base64');
}
