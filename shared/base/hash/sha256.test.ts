import { createHash, randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { AT_ONCE, IN_STEPS, sha256, startSha256 } from './sha256.ts';

const expected = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest();

test.each([0, 1, AT_ONCE, AT_ONCE + 1, IN_STEPS, IN_STEPS + 1, 5_000_001])('%i bytes at once', async (size) => {
  const bytes = randomBytes(size);
  expect(await sha256(bytes)).toEqual(expected(bytes));
});

test('many at a time, in pieces of every size, some of them forgotten', async () => {
  const all = Array.from({ length: 12 }, (_, n) => randomBytes(300_000 + n * 100_000));
  const hashes = all.map((bytes) => startSha256(bytes.length));
  const at = all.map(() => 0);
  for (let piece = 1; at.some((from, n) => from < all[n]!.length); piece = (piece * 7 + 13) % 90_000) {
    for (const [n, bytes] of all.entries()) {
      hashes[n]!.update(bytes.subarray(at[n]!, at[n]! + piece));
      at[n]! += piece;
    }
    if (piece % 2 === 0) await new Promise((resolve) => setImmediate(resolve));
    for (const n of [3, 7]) hashes[n]!.forget();
  }
  for (const [n, bytes] of all.entries()) {
    if (n !== 3 && n !== 7) expect(await hashes[n]!.digest()).toEqual(expected(bytes));
  }
});
