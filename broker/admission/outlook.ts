/** Estimates when an offload that comes now would be answered. Pure; times in milliseconds. */
import { ErrorCode } from '../../shared/base/errors.ts';
import { type Refusal, refusal } from '../../shared/base/refusal.ts';
import { SERVICE_CLASSES } from '../../shared/protocol/service-class.ts';
import type { RunTime } from './run-times.ts';

export interface Situation {
  readonly tenant: string;
  readonly rank: number;
  readonly time: RunTime;
  readonly due: number;
  readonly now: number;
  /** The caller's budget: from the arrival of the offload to `due`. */
  readonly budgetMs: number;
  readonly wayBackMs: number;
  /** Runs at the same time. */
  readonly slots: number;
  /** One of them is free, and may be its own. */
  readonly hasSlot: boolean;
  /** Work that waits and would run before it, and what is left of that which runs. */
  readonly beforeMs: number;
  readonly runningMs: number;
  /** The same of its package alone. */
  readonly packageQueuedMs: number;
  readonly packageRunningMs: () => number;
  readonly tenders: { readonly ready: number; readonly most: number; readonly startMs: number };
}

export interface Prospect {
  readonly reachable: boolean;
  /** Not reachable as it looks, and let through to see whether that is so. */
  readonly probe: boolean;
  readonly due: number;
  readonly leftMs: number;
  readonly queueMs: number;
  readonly startMs: number;
  readonly runMs: number;
  readonly wayBackMs: number;
  /** By how much it would be late. */
  readonly lateMs: number;
}

/** The share of admitted offloads that may be dropped for having waited too long. A smaller one would leave slots idle. */
const DROPPED = 0.01;
const BIAS_STEP = 0.04;
const MAX_BIAS = 4;
const MIN_BIAS = 0.7;
const MAX_TENANTS = 1024;

export class Outlook {
  /**
   * By tenant and rank: by how much waits are taken to be longer than the work ahead says, because what comes later may run
   * earlier. Each tenant has its own, so that one whose offloads are late does not make another's look late.
   */
  readonly #bias = new Map<string, number[]>();

  /** One that was taken has waited too long to be run, or has not. */
  turned(tenant: string, rank: number, dropped: boolean): void {
    let ranks = this.#bias.get(tenant);
    if (ranks === undefined) {
      if (!dropped) return;
      ranks = SERVICE_CLASSES.map(() => 1);
      this.#bias.set(tenant, ranks);
      if (this.#bias.size > MAX_TENANTS) {
        const [oldest] = this.#bias.keys();
        this.#bias.delete(oldest!);
      }
    }
    const bias = ranks[rank]! + BIAS_STEP * (dropped ? 1 - DROPPED : -DROPPED);
    ranks[rank] = Math.min(MAX_BIAS, Math.max(MIN_BIAS, bias));
  }

  /** @param foresees only looks: the offload itself comes later */
  look(situation: Situation, foresees = false): Prospect {
    const { tenant, rank, time, due, now, budgetMs, wayBackMs } = situation;
    const leftMs = due - now;
    const startMs = situation.tenders.ready > 0 ? 0 : situation.tenders.startMs;
    const queueMs = this.#queueMs(situation) * (this.#bias.get(tenant)?.[rank] ?? 1);
    const runMs = time.needed(budgetMs);
    const lateMs = queueMs + startMs + Math.max(runMs, time.high) + wayBackMs - leftMs;
    // Not even without a queue: only the estimate itself speaks against it.
    const hopeless = startMs + time.high + wayBackMs > leftMs;
    const mayProbe = () => (foresees ? time.couldProbe(budgetMs, now) : time.mayProbe(budgetMs, now));
    const probe = lateMs > 0 && hopeless && queueMs < leftMs / 2 && mayProbe();
    return { reachable: lateMs <= 0 || probe, probe, due, leftMs, queueMs, startMs, runMs, wayBackMs, lateMs };
  }

  #queueMs(situation: Situation): number {
    const { slots, hasSlot, beforeMs, runningMs, packageQueuedMs, tenders } = situation;
    const forSlot = hasSlot && beforeMs === 0 ? 0 : (beforeMs + runningMs) / slots;
    const { ready, most, startMs } = tenders;
    if (ready >= slots) return forSlot;
    const ofPackage = Math.min(beforeMs, packageQueuedMs) + situation.packageRunningMs();
    if (ready === 0) return Math.max(forSlot, ofPackage / Math.max(1, Math.min(most, slots)));
    // With those that are there, or with those that can be started.
    const withMore = most > ready ? startMs + ofPackage / Math.min(most, slots) : Number.POSITIVE_INFINITY;
    return Math.max(forSlot, Math.min(ofPackage / ready, withMore));
  }
}

/** One that could be met later has a hint; one that cannot even be met without a queue has none. */
export function unreachable(prospect: Prospect, { deadline }: { deadline: { budgetText: string } }): Refusal {
  const { queueMs, startMs, runMs, wayBackMs, leftMs, lateMs } = prospect;
  const parts = [`queue ${text(queueMs)}`];
  if (startMs > 0) parts.push(`start ${text(startMs)}`);
  parts.push(`run ${text(runMs)}`, `way back ${text(wayBackMs)}`);
  const hint = lateMs <= queueMs ? Math.max(1, Math.ceil(lateMs)) : 0;
  const message = `of the budget of ${deadline.budgetText}, ${text(leftMs)} ms are left, and it would take ${text(leftMs + lateMs)} ms here (${parts.join(', ')}); give it more time, or use another broker`;
  return refusal(ErrorCode.DeadlineUnreachable, message, hint);
}

function text(ms: number): string {
  return ms < 10 ? ms.toFixed(1) : String(Math.round(ms));
}
