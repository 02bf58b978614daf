import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { leafHash, merkleTree, rootFrom } from './merkle.ts';

const leaves = (n: number) => Array.from({ length: n }, (_, i) => leafHash(Buffer.from(`entry ${i}`)));

test('a leaf and a root of three are hashed as RFC 9162, 2.1.1, says', () => {
  const sha = (...parts: Uint8Array[]) => createHash('sha256').update(Buffer.concat(parts)).digest();
  const [a, b, c] = ['a', 'b', 'c'].map((text) => sha(Buffer.of(0), Buffer.from(text)));
  expect(leafHash(Buffer.from('a'))).toEqual(a);
  const { root, paths } = merkleTree([a!, b!, c!]);
  expect(root).toEqual(sha(Buffer.of(1), sha(Buffer.of(1), a!, b!), c!));
  expect(paths).toEqual([[b, c], [a, c], [sha(Buffer.of(1), a!, b!)]]);
});

describe.each([1, 2, 3, 4, 5, 7, 8, 9, 13, 64, 65])('a tree of %i leaves', (n) => {
  const all = leaves(n);
  const { root, paths } = merkleTree(all);

  test('has a way from every leaf to its root', () => {
    for (const [i, leaf] of all.entries()) expect(rootFrom(leaf, i, n, paths[i]!)).toEqual(root);
  });

  test('has no way from elsewhere', () => {
    for (const [i, leaf] of all.entries()) {
      const path = paths[i]!;
      expect(rootFrom(leafHash(Buffer.from('other')), i, n, path)).not.toEqual(root);
      expect(rootFrom(leaf, i, n, [...path, leaf])).not.toEqual(root);
      if (n > 1) expect(rootFrom(leaf, (i + 1) % n, n, path)).not.toEqual(root);
      if (n > 1) expect(rootFrom(leaf, i, n, path.slice(1))).not.toEqual(root);
      for (const at of path.keys()) {
        const bent = path.map((hash, k) => (k === at ? leafHash(hash) : hash));
        expect(rootFrom(leaf, i, n, bent)).not.toEqual(root);
      }
    }
  });
});

test('what is not a way at all gives no root', () => {
  const [leaf] = leaves(1);
  expect(rootFrom(leaf!, 1, 1, [])).toBeUndefined();
  expect(rootFrom(leaf!, 0, 0, [])).toBeUndefined();
  expect(rootFrom(leaf!, 0, 2 ** 32 - 1, [leaf!])).toBeUndefined();
  expect(rootFrom(leaf!, 0, 2, [Buffer.alloc(31)])).toBeUndefined();
});
