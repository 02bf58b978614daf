/**
 * The order of versions: that of Semantic Versioning 2.0.0 (clause 11) where they follow it, and its rules carried over where
 * they do not. Numbers count as numbers, words as text, a number comes before a word, and a missing part before any other;
 * `-` begins a pre-release, which comes before its release, and what follows `+` does not count.
 * @returns below 0: `a` is lower
 */
export function compareVersions(a: string, b: string): number {
  const [one, other] = [split(a), split(b)];
  const byCore = compareParts(one.core, other.core);
  if (byCore !== 0) return byCore;
  if (one.pre === undefined || other.pre === undefined) {
    return Number(one.pre === undefined) - Number(other.pre === undefined);
  }
  return compareParts(one.pre, other.pre);
}

function split(version: string): { core: string[]; pre: string[] | undefined } {
  const [counted = ''] = version.replace(/^v(?=\d)/, '').split('+', 1);
  const dash = counted.indexOf('-');
  if (dash < 0) return { core: counted.split('.'), pre: undefined };
  return { core: counted.slice(0, dash).split('.'), pre: counted.slice(dash + 1).split('.') };
}

function compareParts(a: readonly string[], b: readonly string[]): number {
  for (let i = 0; i < Math.max(a.length, b.length); i++) {
    const [one, other] = [a[i], b[i]];
    if (one === undefined || other === undefined) return one === undefined ? -1 : 1;
    const order = comparePart(one, other);
    if (order !== 0) return order;
  }
  return 0;
}

function comparePart(a: string, b: string): number {
  const [aIsNumber, bIsNumber] = [/^\d+$/.test(a), /^\d+$/.test(b)];
  if (aIsNumber && bIsNumber) {
    const [one, other] = [BigInt(a), BigInt(b)];
    return one < other ? -1 : Number(one > other);
  }
  if (aIsNumber !== bIsNumber) return aIsNumber ? -1 : 1;
  return a < b ? -1 : Number(a > b);
}
