import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { rounds } from '../../test/support/rounds.ts';
import { decodeAnnouncement, MAX_ANNOUNCEMENT } from './announcement.ts';
import { BrokerTable } from './broker-table.ts';

/** One sample of each shape; what was once read wrongly belongs there, too. */
const CORPUS = join(import.meta.dirname, '../../test/fuzz/corpus/datagram');
const samples = readdirSync(CORPUS).map((name) => readFileSync(join(CORPUS, name)));
const ROUNDS = rounds(5000, 500_000);
/** Control characters, which a log would show as something else. */
const CONTROL = /[\u0000-\u001f\u007f\u2028\u2029]/;

/** The same numbers for the same seed: https://en.wikipedia.org/wiki/Xorshift */
function randomOf(seed: number): (limit: number) => number {
  let state = seed | 1;
  return (limit) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % limit;
  };
}

function mutantOf(below: (limit: number) => number): Buffer {
  let bytes: Buffer = Buffer.from(samples[below(samples.length)]!);
  for (let left = 1 + below(4); left > 0; left--) {
    const at = below(bytes.length + 1);
    const other = samples[below(samples.length)]!;
    const changes = [
      () => bytes.subarray(0, at),
      () => Buffer.concat([bytes.subarray(0, at), other.subarray(below(other.length))]),
      () => Buffer.concat([bytes.subarray(0, at), Buffer.from('ffffffffffffffffff01', 'hex'), bytes.subarray(at)]),
      () => Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + below(16))]),
    ];
    if (below(2) === 0) bytes = changes[below(changes.length)]!();
    else if (at < bytes.length) bytes[at] = below(256);
  }
  return bytes;
}

it('what is changed at random is read, or refused in one short line; nothing is verified, and little is kept', () => {
  const below = randomOf(20_261_128);
  const table = new BrokerTable(() => undefined);
  let [read, refused] = [0, 0];
  for (let round = 0; round < ROUNDS; round++) {
    const bytes = mutantOf(below);
    const before = Buffer.from(bytes);
    try {
      const { facts, signed } = decodeAnnouncement(bytes);
      expect(bytes.length).toBeLessThanOrEqual(MAX_ANNOUNCEMENT);
      expect(signed.length <= 400 && !CONTROL.test(Object.values(facts).flat().join(''))).toBe(true);
      read++;
    } catch (error) {
      expect(error).toBeInstanceOf(Error);
      const { message } = error as Error;
      expect(message.length < 200 && !CONTROL.test(message), `${bytes.toString('hex')}: ${message}`).toBe(true);
      refused++;
    }
    table.hear(bytes, `10.0.${below(256)}.${below(256)}`, round);
    expect(bytes.equals(before)).toBe(true);
  }
  expect(read).toBeGreaterThan(0);
  expect(refused).toBeGreaterThan(0);
  expect(table.size).toBeLessThanOrEqual(256);
  expect(table.list(ROUNDS).filter(({ state }) => state !== 'unverified')).toEqual([]);
  expect(table.counts.heard).toBe(ROUNDS);
});

it('every sample of the corpus is read, and refused when it is cut off before its load', () => {
  for (const bytes of samples) {
    expect(decodeAnnouncement(bytes).facts.broker).toBe('rsu-1');
    for (let end = 0; end < 7; end++) expect(() => decodeAnnouncement(bytes.subarray(0, end))).toThrow();
  }
});
