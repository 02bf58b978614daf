/** Whom to freeze or stop so that something of higher priority fits. */

import type { Claim, PreemptionMode } from '../state.ts';
import { isNothing, minus, NOTHING, plus, shortOf } from './capacity.ts';

export interface Candidate {
  readonly name: string;
  readonly priority: number;
  /** Its preemption mode. */
  readonly mode: PreemptionMode;
  /** The claim that this frees; freezing frees no memory. */
  readonly frees: Claim;
}

/** Up to so many candidates the cheapest set is found by trying all sets. */
export const EXACT_LIMIT = 16;

/**
 * The cheapest set of candidates that together make free what is short; undefined when all together do not.
 *
 * Cheapest: first its highest priority is as low as possible; then it stops as few as possible, then has as few as
 * possible, then the lowest sum of priorities. So no member can be left out. With more than EXACT_LIMIT candidates of
 * low enough priority, they are left out one by one instead, the dearest first, as long as the rest suffices: still
 * none can be left out, and the first rule holds, but the set may have more members than another one.
 */
export function cheapestRoom(candidates: readonly Candidate[], short: Claim): readonly Candidate[] | undefined {
  if (isNothing(short)) return [];
  const useful = candidates
    .filter(({ frees }) => (short.memory > 0 && frees.memory > 0) || (short.cpus > 0 && frees.cpus > 0))
    .sort(cheaperFirst);
  const pool: Candidate[] = [];
  let freed = NOTHING;
  for (const [i, candidate] of useful.entries()) {
    pool.push(candidate);
    freed = plus(freed, candidate.frees);
    const lastOfPriority = useful[i + 1]?.priority !== candidate.priority;
    if (!lastOfPriority || !suffices(freed, short)) continue;
    return pool.length <= EXACT_LIMIT ? smallest(pool, short) : prune(pool, freed, short);
  }
  return undefined;
}

function suffices(freed: Claim, short: Claim): boolean {
  return isNothing(shortOf(short, freed));
}

function cheaperFirst(a: Candidate, b: Candidate): number {
  if (a.priority !== b.priority) return a.priority - b.priority;
  if (a.mode !== b.mode) return a.mode === 'freeze' ? -1 : 1;
  return a.name < b.name ? -1 : 1;
}

/** One number to compare sets by: stops, then members, then priorities. Exact, as there are at most EXACT_LIMIT. */
function costOf({ mode, priority }: Candidate): number {
  return (mode === 'stop' ? 1e10 : 0) + 1e6 + priority;
}

function smallest(pool: readonly Candidate[], short: Claim): readonly Candidate[] {
  let best: readonly Candidate[] = pool;
  let bestCost = Number.POSITIVE_INFINITY;
  const chosen: Candidate[] = [];
  const search = (from: number, freed: Claim, cost: number): void => {
    if (cost >= bestCost) return;
    if (suffices(freed, short)) {
      best = [...chosen];
      bestCost = cost;
      return;
    }
    for (let i = from; i < pool.length; i++) {
      chosen.push(pool[i]!);
      search(i + 1, plus(freed, pool[i]!.frees), cost + costOf(pool[i]!));
      chosen.pop();
    }
  };
  search(0, NOTHING, 0);
  return best;
}

function prune(pool: readonly Candidate[], freed: Claim, short: Claim): readonly Candidate[] {
  let rest = freed;
  const needed = new Set(pool);
  for (const candidate of [...pool].sort((a, b) => costOf(b) - costOf(a))) {
    const without = minus(rest, candidate.frees);
    if (!suffices(without, short)) continue;
    rest = without;
    needed.delete(candidate);
  }
  return pool.filter((candidate) => needed.has(candidate));
}
