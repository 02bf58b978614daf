import { AT_ONCE, sha256 } from '../../shared/base/hash/sha256.ts';
import { digestOf } from '../../shared/base/once/once.ts';
import type { AnyOffload } from '../offloads/offload.ts';

/** SHA-256 of an input as base64, where that costs the event loop little; undefined: see `sha256Of`. */
export function digestAtOnce(offload: AnyOffload): string | undefined {
  const { input, inputDigest } = offload;
  if (inputDigest !== undefined || !(input instanceof Uint8Array)) return inputDigest;
  return input.length <= AT_ONCE ? digestOf(input) : undefined;
}

/** Likewise of anything; the event loop does not wait for that of a large one. */
export async function sha256Of(bytes: Uint8Array): Promise<string> {
  return bytes.length <= AT_ONCE ? digestOf(bytes) : (await sha256(bytes)).toString('base64');
}
