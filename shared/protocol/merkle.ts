/** Merkle trees as RFC 9162, 2.1, has them, with SHA-256: one signature for many receipts. */
import { createHash } from 'node:crypto';

const LEAF = Buffer.of(0);
const NODE = Buffer.of(1);

/** The hash of an entry as a leaf. */
export function leafHash(entry: Uint8Array): Buffer {
  return createHash('sha256').update(LEAF).update(entry).digest();
}

function nodeHash(left: Uint8Array, right: Uint8Array): Buffer {
  return createHash('sha256').update(NODE).update(left).update(right).digest();
}

export interface MerkleTree {
  readonly root: Buffer;
  /** For each leaf the way to the root, as `rootFrom` takes it. */
  readonly paths: readonly (readonly Buffer[])[];
}

/** @param leaves hashes of `leafHash`, at least one */
export function merkleTree(leaves: readonly Buffer[]): MerkleTree {
  if (leaves.length === 0) throw new RangeError('a tree needs a leaf');
  const paths: Buffer[][] = leaves.map(() => []);
  return { root: subtree(leaves, 0, leaves.length, paths), paths };
}

/** RFC 9162, 2.1.1: the left side has the largest power of two that is smaller than the number of leaves. */
function subtree(leaves: readonly Buffer[], from: number, to: number, paths: Buffer[][]): Buffer {
  if (to - from === 1) return leaves[from]!;
  const middle = from + 2 ** (31 - Math.clz32(to - from - 1));
  const left = subtree(leaves, from, middle, paths);
  const right = subtree(leaves, middle, to, paths);
  for (let i = from; i < middle; i++) paths[i]!.push(right);
  for (let i = middle; i < to; i++) paths[i]!.push(left);
  return nodeHash(left, right);
}

/**
 * RFC 9162, 2.1.3.2: the root to which this way leads; undefined when it is not one for this place in a tree of that size.
 * @param leaf its hash
 */
export function rootFrom(leaf: Buffer, index: number, leaves: number, path: readonly Uint8Array[]): Buffer | undefined {
  if (index >= leaves) return undefined;
  let place = index;
  let last = leaves - 1;
  let hash = leaf;
  for (const other of path) {
    if (last === 0 || other.length !== leaf.length) return undefined;
    if (place % 2 === 1 || place === last) {
      hash = nodeHash(other, hash);
      while (place % 2 === 0 && place !== 0) {
        place >>>= 1;
        last >>>= 1;
      }
    } else {
      hash = nodeHash(hash, other);
    }
    place >>>= 1;
    last >>>= 1;
  }
  return last === 0 ? hash : undefined;
}
