import type { Random } from '../../shared/base/random.ts';

/**
 * Uniform numbers in 0..1, the same for the same seed. Not `seededRandom` of shared/base: the pictures of a seed are
 * compared bit for bit, and have to stay what they were.
 */
export function xorshift32(seed: number): Random {
  // Spread small seeds over all bits first; 0 would stay 0 for ever.
  let state = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) | 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 0x1_0000_0000;
  };
}

/** A table of about normally distributed noise with the given standard deviation, rounded and within -127..127. */
export function noiseTable(size: number, deviation: number, random: Random): Int8Array {
  const table = new Int8Array(size);
  for (let at = 0; at < size; at++) {
    // The sum of four uniform numbers has the variance 4/12.
    const normal = (random() + random() + random() + random() - 2) * Math.sqrt(3);
    table[at] = Math.max(-127, Math.min(127, Math.round(normal * deviation)));
  }
  return table;
}

/** A whole number out of two, well mixed, for things that must look random and come out the same each time. */
export function mix(a: number, b: number): number {
  let h = Math.imul(a ^ 0x27d4eb2f, 0x165667b1) ^ Math.imul(b + 0x3c6ef372, 0x9e3779b1);
  h = Math.imul(h ^ (h >>> 15), 0x85ebca6b);
  return (h ^ (h >>> 13)) >>> 0;
}
