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
  /** Its call goes on for so long that another tender may be started in its place. */
  long: boolean;
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
    long: false,
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

export function countIn(tenders: Iterable<HeldTender>, wanted: HeldTender['state']): number {
  let count = 0;
  for (const { state } of tenders) if (state === wanted) count++;
  return count;
}

/** How many of them have a call that goes on and on. */
export function longIn(tenders: Iterable<HeldTender>): number {
  let count = 0;
  for (const { long } of tenders) if (long) count++;
  return count;
}
