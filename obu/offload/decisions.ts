import type { OffloadDecision } from '../../shared/api/offload-decision.ts';
import type { Choice } from './choose/choose.ts';

export const MAX_DECISIONS = 64;

/** One choice on the way of an offload, and what came of it. */
export interface Attempt {
  readonly choice: Choice;
  /** Id of the place that it was sent to; undefined: to none. */
  readonly place: string | undefined;
  readonly reason: string;
  /** Milliseconds of the budget that were left. */
  readonly leftMs: number;
  /** Empty while it is there. */
  outcome: string;
}

export interface Decision {
  readonly id: string;
  readonly taskDigest: string;
  readonly budgetMs: number;
  readonly inputBytes: number;
  /** `Date.now()` */
  readonly atMs: number;
  readonly attempts: Attempt[];
}

/** The newest offloads with how their places were chosen; turned into text only when asked for. */
export class Decisions {
  readonly #decisions: Decision[] = [];
  #next = 0;

  add(decision: Decision): void {
    this.#decisions[this.#next] = decision;
    this.#next = (this.#next + 1) % MAX_DECISIONS;
  }

  /**
   * @param id as the workload chose it, or with the scope before it; "last": the newest
   * @returns undefined: it is not among the newest
   */
  find(id: string): OffloadDecision | undefined {
    const newestFirst = [
      ...this.#decisions.slice(0, this.#next).reverse(),
      ...this.#decisions.slice(this.#next).reverse(),
    ];
    const found = newestFirst.find((one) => id === 'last' || one.id === id || one.id.endsWith(`/${id}`));
    return found && shown(found);
  }
}

function shown({ id, taskDigest, budgetMs, inputBytes, atMs, attempts }: Decision): OffloadDecision {
  return {
    id,
    taskDigest,
    budgetMs,
    inputBytes,
    at: new Date(atMs).toISOString(),
    attempts: attempts.map(({ choice, place, reason, leftMs, outcome }) => ({
      place: place ?? '',
      reason,
      leftMs,
      outcome,
      places: choice.rows.map((row) => ({
        place: row.place.id,
        kind: row.place.kind,
        cost: row.place.cost,
        // JSON has no Infinity.
        finishMs: Number.isFinite(row.finishMs) ? row.finishMs : null,
        roundTripMs: row.place.roundTripMs,
        runMs: row.place.runMs ?? null,
        verdict: row.verdict === 'unusable' ? (row.place.unusable ?? row.verdict) : row.verdict,
      })),
    })),
  };
}
