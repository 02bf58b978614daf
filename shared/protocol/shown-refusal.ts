import type { Refusal } from '../base/refusal.ts';

/** Characters of a text for peers and logs: no person reads more, and a peer must not have to. */
const MAX_TEXT = 600;
const CONTROL = /[\p{Cc}\u2028\u2029]+/gu;
/** A path of at least two parts that begins where a word does: "/v2e" and "and/or" are none. */
const PATH = /(^|[\s'"`(=:,])\/[^\s'"`(),:;/]+(?:\/[^\s'"`(),:;]*)+/g;
/** As OpenSSL and C write addresses. */
const ADDRESS = /\b0x[0-9a-f]{9,16}\b/gi;

/** A sentence as peers and logs may have it: one line, without control characters, and nothing of this host in it. */
export function shownText(text: string): string {
  const plain = text.replace(CONTROL, ' ').replace(PATH, '$1(a file)').replace(ADDRESS, '(an address)').trim();
  return plain.length <= MAX_TEXT ? plain : `${plain.slice(0, MAX_TEXT - 1)}…`;
}

/** The same for a refusal that leaves this host. */
export function shownRefusal<Code extends number>(refusal: Refusal<Code>): Refusal<Code> {
  const message = shownText(refusal.message);
  return message === refusal.message ? refusal : { ...refusal, message };
}
