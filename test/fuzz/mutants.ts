import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** The same numbers for the same seed, on every machine: https://en.wikipedia.org/wiki/Xorshift (32 bits). */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = (seed ^ 0x9e3779b9) | 1;
  }

  /** A whole number from 0 on. */
  below(limit: number): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return (this.#state >>> 0) % limit;
  }

  of<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }
}

export interface Sample {
  readonly name: string;
  readonly bytes: Buffer;
}

/** The files of a folder of the corpus, by name. */
export function corpusOf(kind: string): readonly Sample[] {
  const folder = join(import.meta.dirname, 'corpus', kind);
  const names = readdirSync(folder).sort();
  return names.map((name) => ({ name, bytes: readFileSync(join(folder, name)) }));
}

/** What parsers are most often wrong about: ends of ranges, and lengths in the notation of protobuf. */
const TELLING_BYTES = [0, 1, 0x7f, 0x80, 0xff, 0x0a, 0x0d, 0x20, 0x22, 0x7b];
const TELLING_PIECES = [
  Buffer.from('ffffffffffffffffff01', 'hex'),
  Buffer.from('ffffffff0f', 'hex'),
  Buffer.from('8080808080808080808000', 'hex'),
  Buffer.from('80808001', 'hex'),
  Buffer.from('000000000000f87f', 'hex'),
  Buffer.from('000000000000f07f', 'hex'),
  Buffer.from('efbfbdeda080f4908080', 'hex'),
  Buffer.alloc(64, 0x0b), // 64 groups of protobuf, one within the other
];

type Change = (bytes: Buffer, random: Random, others: readonly Sample[]) => Buffer;

const place = (bytes: Buffer, random: Random) => random.below(bytes.length + 1);

const flip: Change = (bytes, random) => {
  if (bytes.length === 0) return bytes;
  const changed = Buffer.from(bytes);
  changed[random.below(bytes.length)]! ^= 1 << random.below(8);
  return changed;
};
const put: Change = (bytes, random) => {
  if (bytes.length === 0) return bytes;
  const changed = Buffer.from(bytes);
  changed[random.below(bytes.length)] = random.below(2) === 0 ? random.of(TELLING_BYTES) : random.below(256);
  return changed;
};
const cut: Change = (bytes, random) => bytes.subarray(0, place(bytes, random));
const remove: Change = (bytes, random) => {
  const at = place(bytes, random);
  return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + random.below(16))]);
};
const insert: Change = (bytes, random) => {
  const at = place(bytes, random);
  return Buffer.concat([bytes.subarray(0, at), random.of(TELLING_PIECES), bytes.subarray(at)]);
};
const double: Change = (bytes, random) => {
  const at = place(bytes, random);
  const piece = bytes.subarray(at, at + 1 + random.below(64));
  return Buffer.concat([bytes.subarray(0, at), piece, piece, bytes.subarray(at)]);
};
const splice: Change = (bytes, random, others) => {
  const other = random.of(others).bytes;
  return Buffer.concat([bytes.subarray(0, place(bytes, random)), other.subarray(place(other, random))]);
};

const CHANGES: readonly Change[] = [flip, flip, put, put, cut, remove, insert, double, splice];
const MAX_CHANGES = 4;

/** A sample with one to four changes. */
export function mutantOf(samples: readonly Sample[], random: Random): Buffer {
  let { bytes } = random.of(samples);
  for (let left = 1 + random.below(MAX_CHANGES); left > 0; left--) bytes = random.of(CHANGES)(bytes, random, samples);
  return bytes;
}
