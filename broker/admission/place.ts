import type { Ticket } from './class-queue.ts';
import type { Prospect } from './outlook.ts';
import type { RunTime } from './run-times.ts';
import type { Waiting } from './terms.ts';

/** An entry's place in admission, from when it is taken in until its run has ended. */
export class Place<T> implements Ticket {
  place = -1;
  readonly entry: T;
  readonly tenant: string;
  readonly taskDigest: string;
  readonly rank: number;
  due: number;
  readonly order: number;
  readonly costMs: number;
  readonly time: RunTime;
  readonly probe: boolean;
  /** Milliseconds that were left of its budget at its start. */
  hadMs = 0;

  constructor(entry: T & Waiting, rank: number, order: number, time: RunTime, { probe, due }: Prospect) {
    this.entry = entry;
    this.tenant = entry.tenant;
    this.taskDigest = entry.taskDigest;
    this.rank = rank;
    this.order = order;
    this.due = due;
    this.costMs = time.mean;
    this.time = time;
    this.probe = probe;
  }
}

export function dueOf({ deadline, dwellMs }: Waiting): number {
  return Math.min(deadline.at, deadline.startedAt + dwellMs);
}
