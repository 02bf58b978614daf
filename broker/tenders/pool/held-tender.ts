import { footprintOf } from '../process/footprint.ts';
import type { Tender } from '../process/tender.ts';
import type { TenderView } from './pool-plan.ts';

/** A tender in a pool. */
export interface HeldTender {
  readonly id: number;
  readonly startedAt: number;
  tender: Tender | undefined;
  state: TenderView['state'];
  bytes: number;
  freeSince: number;
  /** `freeSince` when its memory was last measured. */
  measuredAt: number;
  /** Settles when it is gone. */
  gone: Promise<void>;
}

/** One that begins to load at `now`. @param bytes what it is expected to hold */
export function loadingTender(id: number, bytes: number, now: number): HeldTender {
  return {
    id,
    startedAt: now,
    tender: undefined,
    state: 'Loading',
    bytes,
    freeSince: now,
    measuredAt: Number.NEGATIVE_INFINITY,
    gone: Promise.resolve(),
  };
}

export function viewOf({ id, state, bytes, startedAt, freeSince }: HeldTender): TenderView {
  return { id, state, bytes, startedAt, freeSince };
}

/** Measures one that waits and has been used since it was last measured. Undefined: there is nothing new. */
export async function measured(held: HeldTender): Promise<number | undefined> {
  const { freeSince } = held;
  const pid = held.tender?.pid;
  if (pid === undefined || held.measuredAt === freeSince) return undefined;
  const bytes = await footprintOf(pid);
  // With a call under way it would have been something else.
  if (bytes === undefined || held.state !== 'Waiting' || held.freeSince !== freeSince) return undefined;
  held.measuredAt = freeSince;
  held.bytes = bytes;
  return bytes;
}
