import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { rounds } from '../../../test/support/rounds.ts';
import type { Claim } from '../state.ts';
import { fits, minus, sumOf } from './capacity.ts';
import { type Candidate, cheapestRoom, EXACT_LIMIT } from './room.ts';

const claim = fc.record({ memory: fc.integer({ min: 0, max: 8 }), cpus: fc.integer({ min: 0, max: 8 }) });
const candidates = (max: number) =>
  fc
    .array(
      fc.record({ priority: fc.integer({ min: 0, max: 5 }), rung: fc.constantFrom('freeze', 'stop'), frees: claim }),
      { maxLength: max },
    )
    .map((list) =>
      list.map((one, i): Candidate => {
        const rung = one.rung as Candidate['mode'];
        return {
          name: `w${i}`,
          priority: one.priority,
          mode: rung,
          frees: rung === 'freeze' ? { ...one.frees, memory: 0 } : one.frees,
        };
      }),
    );

const freed = (set: readonly Candidate[]): Claim => sumOf(set.map((one) => one.frees));
const suffices = (set: readonly Candidate[], short: Claim) => fits(short, freed(set));
const costOf = (set: readonly Candidate[]) => [
  Math.max(-1, ...set.map((one) => one.priority)),
  set.filter((one) => one.mode === 'stop').length,
  set.length,
  set.reduce((sum, one) => sum + one.priority, 0),
];
const compare = (a: readonly number[], b: readonly number[]) => a.map((x, i) => x - b[i]!).find((d) => d !== 0) ?? 0;

describe('room', () => {
  it('is made by the cheapest of all sets that suffice', () => {
    fc.assert(
      fc.property(candidates(7), claim, (list, short) => {
        let best: number[] | undefined;
        for (let mask = 0; mask < 2 ** list.length; mask++) {
          const set = list.filter((_, i) => mask & (1 << i));
          if (!suffices(set, short)) continue;
          const cost = costOf(set);
          if (best === undefined || compare(cost, best) < 0) best = cost;
        }
        const found = cheapestRoom(list, short);
        expect(found && costOf(found)).toEqual(best);
        if (found) expect(suffices(found, short)).toBe(true);
      }),
      { numRuns: rounds(200, 500) },
    );
  });

  it('never takes one that could be left out, however many there are', () => {
    fc.assert(
      fc.property(
        candidates(3 * EXACT_LIMIT),
        claim.map(({ memory, cpus }) => ({ memory: memory * 8, cpus: cpus * 8 })),
        (list, short) => {
          const found = cheapestRoom(list, short);
          expect(found !== undefined).toBe(suffices(list, short));
          for (const left of found ?? []) {
            expect(
              suffices(
                found!.filter((one) => one !== left),
                short,
              ),
            ).toBe(false);
          }
        },
      ),
      { numRuns: rounds(100, 200) },
    );
  });

  it('does not depend on the order of the candidates', () => {
    fc.assert(
      fc.property(candidates(8), claim, (list, short) => {
        expect(cheapestRoom([...list].reverse(), short)).toEqual(cheapestRoom(list, short));
      }),
    );
  });

  it('is not there when all together are not enough', () => {
    const one: Candidate = { name: 'a', priority: 1, mode: 'freeze', frees: { memory: 0, cpus: 4 } };
    expect(cheapestRoom([one], { memory: 1, cpus: 0 })).toBeUndefined();
    expect(cheapestRoom([one], minus({ memory: 0, cpus: 4 }, one.frees))).toEqual([]);
  });
});
