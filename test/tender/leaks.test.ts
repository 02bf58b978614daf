import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type { TenderProcess } from '../../broker/tenders/process/tender-process.ts';
import { rounds } from '../support/rounds.ts';
import { answer, forEachWay, guestImage, u64 } from './support.ts';

/** 2,000 in `npm run test:long`; 100,000 and more: KERB_TEST_RESETS=100000. */
const RESETS = Number(process.env.KERB_TEST_RESETS ?? rounds(60, 2000));

let state = BigInt(process.env.KERB_TEST_SEED ?? 20260101);
/** A pattern with no zero byte, so that every byte that stays is seen. splitmix64, Steele and others 2014. */
function pattern(): bigint {
  state = BigInt.asUintN(64, state + 0x9e3779b97f4a7c15n);
  let value = state;
  value = BigInt.asUintN(64, (value ^ (value >> 30n)) * 0xbf58476d1ce4e5b9n);
  value = BigInt.asUintN(64, (value ^ (value >> 27n)) * 0x94d049bb133111ebn);
  return (value ^ (value >> 31n)) | 0x0101010101010101n;
}

const message = (letter: string, value: bigint): Buffer => Buffer.concat([Buffer.from(letter), u64(value)]);

interface Findings {
  readonly dirtyBytes: number;
  readonly patternWords: number;
  readonly changedData: number;
  readonly dirtyRegisters: number;
  readonly dirtyVectorBytes: number;
  readonly bytesSeen: number;
  readonly patternRegisters: number;
}

function findings(output: Buffer): Findings {
  const at = (index: number): number => Number(output.readBigUInt64LE(index * 8));
  return {
    dirtyBytes: at(0),
    patternWords: at(1),
    changedData: at(2),
    dirtyRegisters: at(3),
    dirtyVectorBytes: at(4),
    bytesSeen: at(5),
    patternRegisters: at(6),
  };
}

const clean = {
  dirtyBytes: 0,
  patternWords: 0,
  changedData: 0,
  dirtyRegisters: 0,
  dirtyVectorBytes: 0,
  patternRegisters: 0,
};

async function look(tender: TenderProcess, value: bigint): Promise<Findings> {
  const outcome = await tender.call(message('l', ~value), 5_000);
  if (outcome.outcome !== 'done') throw new Error(JSON.stringify(outcome));
  expect(outcome.log).toBe('');
  return findings(outcome.output);
}

await forEachWay((tenders, isolation) => {
  /** A process for each call costs much more, and each of them starts alike. */
  const of = (resets: number): number => Math.ceil(tenders.kept ? resets : resets / 10);

  describe('an earlier call leaves nothing', () => {
    test('that the looker would not find', async () => {
      const tender = await tenders.guest('leak');
      const outcome = await tender.call(message('d', ~pattern()), 5_000);
      if (outcome.outcome !== 'done') throw new Error(JSON.stringify(outcome));
      expect(findings(outcome.output)).toMatchObject({
        dirtyBytes: 8,
        patternWords: 1,
        changedData: 1,
        dirtyRegisters: 1,
        dirtyVectorBytes: 1,
        patternRegisters: 1,
      });
    });

    test.each([
      ['a mebibyte', 'leak', of(RESETS), 900_000],
      ['more than is looked at page by page', 'leak-large', of(RESETS / 10), 6_000_000],
    ])(
      'after calls that filled everything: %s, %s, %i times',
      async (_memory, guest, resets, bytes) => {
        const tender = await tenders.guest(guest);
        for (let i = 0; i < resets; i++) {
          const value = pattern();
          expect(await tender.call(message('f', value), 5_000)).toMatchObject({ outcome: 'done', status: 0 });
          const found = await look(tender, value);
          expect(found).toMatchObject(clean);
          // All of the heap, stack, exchange pages: a look at next to nothing would prove nothing.
          expect(found.bytesSeen).toBeGreaterThan(bytes);
        }
      },
      3_600_000,
    );

    test.each(tenders.kept ? ['leak', 'leak-large'] : ['leak'])(
      'after calls that filled everything and were killed: %s',
      async (guest) => {
        const tender = await tenders.guest(guest);
        for (let i = 0; i < of(rounds(5, 20)); i++) {
          const value = pattern();
          expect((await tender.call(message('F', value), 100)).outcome).toBe('deadline');
          expect(await look(tender, value)).toMatchObject(clean);
        }
      },
    );

    test('after calls that filled everything and faulted', async () => {
      const tender = await tenders.guest('leak');
      for (let i = 0; i < of(RESETS / 20); i++) {
        const value = pattern();
        expect((await tender.call(message('X', value), 5_000)).outcome).toBe('fault');
        expect(await look(tender, value)).toMatchObject(clean);
      }
    });

    test.skipIf(process.arch !== 'x64').each([
      ['flags', 'f'],
      ['a flag that ptrace does not set', 'i'],
      ['the single step', 't'],
      ['selectors', 's'],
      ['bases of segments', 'g'],
      ['an x87 exception that is pending', 'x'],
      ['rounding and exceptions of SSE', 'm'],
      ['protection keys', 'p'],
    ])('in the registers that a kernel keeps beside those: %s', async (_what, letter) => {
      const tender = await tenders.guest('registers');
      const registers = async (): Promise<string> => {
        const outcome = await tender.call(Buffer.from('l'), 5_000);
        if (outcome.outcome !== 'done') throw new Error(JSON.stringify(outcome));
        expect(outcome.output.length).toBe(88);
        return outcome.output.toString('hex');
      };
      const before = await registers();
      for (let i = 0; i < of(RESETS / 20); i++) {
        const { outcome } = await tender.call(Buffer.from(letter), 5_000);
        // A virtual machine has other selectors, and its single step comes at once.
        expect(outcome).toMatch(isolation === 'vm' ? /^done$|^fault$/ : /^done$/);
        expect(await registers()).toBe(before);
      }
    });

    test('of a long input to the next, shorter one', async () => {
      const tender = await tenders.guest('leak');
      for (const size of [16_384, 4_097, 4_095, 100]) {
        const value = pattern();
        const long = Buffer.alloc(size, u64(value));
        message('f', value).copy(long);
        await tender.call(long, 5_000);
        expect(await look(tender, value)).toMatchObject(clean);
      }
    });

    test('of a long output to the next call of a task that writes less than it says', async () => {
      // Through the memfds: larger than what goes inline. `big-output` claims output that it never writes.
      const tender = await tenders.start(guestImage('claim'));
      const full = Buffer.alloc(2 << 20, 0xab);
      const first = await tender.call(Buffer.concat([u64(full.length), full]), 5_000);
      if (first.outcome !== 'done') throw new Error(JSON.stringify(first));
      expect(first.output.equals(full)).toBe(true);
      const second = await tender.call(u64(2 << 20), 5_000);
      if (second.outcome !== 'done') throw new Error(JSON.stringify(second));
      expect(second.output.equals(Buffer.alloc(2 << 20))).toBe(true);
    });

    test('of large calls to later ones, whatever is kept for these', async () => {
      const tender = await tenders.start(guestImage('claim'));
      const zeros = async (size: number): Promise<void> => {
        const outcome = await tender.call(u64(size), 5_000);
        if (outcome.outcome !== 'done') throw new Error(JSON.stringify(outcome));
        expect(outcome.output.equals(Buffer.alloc(size))).toBe(true);
      };
      for (const pauseMs of [0, 0, 1_500]) {
        for (const size of [2 << 20, 300_000, 5_000]) {
          const full = Buffer.alloc(size, 0xab);
          await tender.call(Buffer.concat([u64(size), full]), 5_000);
        }
        await sleep(pauseMs);
        await zeros(8);
        await zeros(2 << 20);
      }
    });

    test('and the log of one call is not the log of the next', async () => {
      await tenders.call('log-flood');
      const outcome = await tenders.call('log-flood');
      expect(answer(outcome)).toBe('done');
      expect(outcome.log.startsWith('line 0 of')).toBe(true);
      expect((await tenders.call('hello', 'x')).log).toBe('greeted 1 bytes\nand said so 2 times\n');
    });
  });
});
