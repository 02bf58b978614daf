import type { CallUse } from '../process/tender.ts';
import { type HeldTender, viewOf } from './held-tender.ts';
import type { TenderView } from './pool-plan.ts';

/** The calls of one pool and what they took, all together. */
export class PoolUse {
  calls = 0;
  /** Milliseconds that they have computed. */
  cpuMs = 0;
  /** Bytes of its own memory that the call with the most of it had in use. */
  peakMemory = 0;

  add({ cpuMs, peakMemory }: CallUse): void {
    this.cpuMs += cpuMs;
    this.peakMemory = Math.max(this.peakMemory, peakMemory);
  }
}

/** As status and metrics show it. */
export interface KnownTender extends TenderView {
  readonly isolation: string;
  /** One process runs all its calls. */
  readonly kept: boolean;
}

export function knownOf(held: HeldTender): KnownTender {
  const { isolation = '', kept = false } = held.tender ?? {};
  return { ...viewOf(held), isolation, kept };
}

/** One process for all calls of a tender, or one for each call. Empty: there is no such tender yet. */
export function processPer(tenders: readonly KnownTender[]): '' | 'tender' | 'call' {
  const ready = tenders.filter(({ isolation, state }) => isolation === 'process' && state !== 'Loading');
  if (ready.length === 0) return '';
  return ready.every(({ kept }) => kept) ? 'tender' : 'call';
}
