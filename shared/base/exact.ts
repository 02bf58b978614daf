/**
 * Integers that keep their digits. One integer has one form: a number where a double holds it exactly (up to 2^53), a
 * bigint beyond. So two of them are equal when `===` says so, and nobody pays for bigints who has no use for them.
 */

/** A number, or an integer that no double holds exactly. */
export type Exact = number | bigint;

/** The value of a VSS leaf. An integer is a bigint where no double holds it exactly, and a number elsewhere. */
export type SignalDatum = Exact | boolean | string;

/** An integer in its one form. */
export function exact(value: bigint): Exact {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

/** Parses a decimal number without losing a digit of an integer; NaN when it is not one. */
export function parseExact(text: string): Exact {
  const trimmed = text.trim();
  if (trimmed === '') return Number.NaN;
  return /^[+-]?\d+$/.test(trimmed) ? exact(BigInt(trimmed.replace(/^\+/, ''))) : Number(trimmed);
}

/** As `JSON.parse`, with integers in their one form. @throws SyntaxError */
export function parseJsonExactly(text: string): unknown {
  // The third argument is newer than the types of this language level.
  const keep = (_key: string, value: unknown, context?: { readonly source?: string }) =>
    typeof value === 'number' && !Number.isSafeInteger(value) && /^-?\d+$/.test(context?.source ?? '')
      ? exact(BigInt(context!.source!))
      : value;
  return JSON.parse(text, keep as Parameters<typeof JSON.parse>[1]);
}

/** Integers of a value that came as bigints (`intAsBigInt` of the YAML library), in their one form. */
export function withExact(value: unknown): unknown {
  if (typeof value === 'bigint') return exact(value);
  if (Array.isArray(value)) return value.map(withExact);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, withExact(inner)]));
}

/** For JSON: a bigint as text, because most readers of JSON would round it. */
export function toJsonValue<T>(value: T | bigint): T | string {
  return typeof value === 'bigint' ? value.toString() : value;
}
