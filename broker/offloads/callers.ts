import type { Deadline } from '../../shared/base/deadline.ts';
import type { Refusal } from '../../shared/base/refusal.ts';
import type { TenantAccounts } from '../tenants/policy.ts';
import type { Answer, AnyOffload, Caller, Link, PendingOffload } from './offload.ts';
import { callerTooLate } from './refusals.ts';

export function callerOf({ deadline, keepMs }: AnyOffload, answer: Answer, link: Link | undefined): Caller {
  return { answer, deadline, keepMs, link, timer: undefined };
}

/** One more that waits for it, who does not make it live longer. Undefined: too many wait already. */
export function claimedBy(
  { callers }: PendingOffload,
  deadline: Deadline,
  answer: Answer,
  most: number,
): Caller | undefined {
  if (callers.length >= most) return undefined;
  const caller: Caller = { answer, deadline, keepMs: 1, link: undefined, timer: undefined };
  callers.push(caller);
  return caller;
}

/** Answers them all, each exactly once. */
export function answerAll({ callers }: PendingOffload, ...what: Parameters<Answer>): void {
  for (const caller of callers.splice(0)) {
    clearTimeout(caller.timer);
    caller.answer(...what);
  }
}

/** Answers this one alone; false when it has been answered. */
export function answerOne({ callers }: PendingOffload, caller: Caller, why: Refusal): boolean {
  const at = callers.indexOf(caller);
  if (at < 0) return false;
  callers.splice(at, 1);
  clearTimeout(caller.timer);
  caller.answer(undefined, why);
  return true;
}

/** The offloads that wait or run, by their key, and by the links whose loss would cancel them. */
export class Flights {
  readonly #byKey = new Map<string, PendingOffload>();
  readonly #byLink = new Map<Link, Set<PendingOffload>>();
  readonly #tenants: TenantAccounts;
  onStateEnd: (flight: PendingOffload) => void = () => {};

  /** `tenants` counts them. */
  constructor(tenants: TenantAccounts) {
    this.#tenants = tenants;
  }

  get size(): number {
    return this.#byKey.size;
  }

  begin(flight: PendingOffload): void {
    this.#tenants.taken(flight);
    this.#byKey.set(flight.key, flight);
    for (const caller of flight.callers) this.join(flight, caller);
  }

  join(flight: PendingOffload, { link, keepMs }: Caller): void {
    if (link === undefined || keepMs > 0) return;
    let flights = this.#byLink.get(link);
    if (flights === undefined) {
      flights = new Set();
      this.#byLink.set(link, flights);
    }
    flights.add(flight);
    flight.links.push(link);
  }

  /** It has been answered, or no caller waits for it. Before or after its callers are told. */
  end(flight: PendingOffload): void {
    if (flight.state !== undefined) this.onStateEnd(flight);
    if (this.#byKey.get(flight.key) === flight) {
      this.#byKey.delete(flight.key);
      this.#tenants.left(flight, performance.now());
    }
    for (const link of flight.links) {
      const flights = this.#byLink.get(link);
      flights?.delete(flight);
      if (flights?.size === 0) this.#byLink.delete(link);
    }
  }

  get(key: string): PendingOffload | undefined {
    return this.#byKey.get(key);
  }

  /** Those that a caller waits for by this link, who wants no result after its loss. */
  of(link: Link): PendingOffload[] {
    return [...(this.#byLink.get(link) ?? [])];
  }
}

/** Neither name holds a line break, so that no vehicle can make the key of another. */
export function keyOf({ tenant, vehicle, id }: Pick<AnyOffload, 'tenant' | 'vehicle' | 'id'>): string {
  return `${tenant}\n${vehicle}\n${id}`;
}

/** Each caller is answered under its own deadline, also when the run goes on for another one. @param onLast none is left */
export function watchCallers(flight: PendingOffload, onLast: () => void): void {
  for (const caller of flight.callers) {
    if (caller.deadline.at >= flight.deadline.at) continue;
    caller.timer ??= setTimeout(() => {
      if (!answerOne(flight, caller, callerTooLate(flight, caller.deadline, flight.tender !== 0))) return;
      if (flight.callers.length === 0) onLast();
    }, caller.deadline.timerMs());
  }
}
