/**
 * The queue of one class: tenants by weight, each by earliest deadline. Pure; times in milliseconds.
 *
 * Shares are of time that runs take, not of runs: start-time fair queueing (Goyal, Vin, Cheng: "Start-time Fair Queuing",
 * 1996) with the expected time, made good when the real one is known.
 */
import { Heap, type Placed } from './heap.ts';

/** One that waits, or runs. */
export interface Ticket extends Placed {
  readonly tenant: string;
  readonly taskDigest: string;
  /** 0 is the most urgent class. */
  readonly rank: number;
  /** Until when it is worth something. */
  due: number;
  /** Among tickets with the same `due`, the lower order comes first. */
  readonly order: number;
  /** How long it is expected to run. */
  readonly costMs: number;
}

/** True when a run of this package, for this tenant, can begin now. */
export type MayRun = (taskDigest: string, tenant: string) => boolean;

/** A tenant may owe or be owed this much of its class's time, and a class of all time. */
export const MAX_DEBT_MS = 1000;
/** Tenants that do not wait and are remembered for what they owe. */
const MAX_IDLE = 256;

/** The offloads of one tenant that wait in one class. */
class Line<T extends Ticket> implements Placed {
  place = -1;
  weight = 1;
  /** Virtual time at which its next one starts: what it has been given, over its weight. */
  start = 0;
  /** Among lines with the same start, the lower turn comes first. */
  turn = 0;
  workMs = 0;
  count = 0;
  /** None that waits is due later. */
  #latest = Number.NEGATIVE_INFINITY;
  /** By package. None is empty. */
  readonly #heaps = new Map<string, Heap<T>>();

  push(ticket: T): void {
    let heap = this.#heaps.get(ticket.taskDigest);
    if (heap === undefined) {
      heap = new Heap<T>(isSooner);
      this.#heaps.set(ticket.taskDigest, heap);
    }
    heap.push(ticket);
    this.#latest = this.count === 0 ? ticket.due : Math.max(this.#latest, ticket.due);
    this.count++;
    this.workMs += ticket.costMs;
  }

  remove(ticket: T): void {
    const heap = this.#heaps.get(ticket.taskDigest)!;
    heap.remove(ticket);
    if (heap.size === 0) this.#heaps.delete(ticket.taskDigest);
    this.count--;
    this.workMs = this.count === 0 ? 0 : this.workMs - ticket.costMs;
  }

  /** The earliest of those that may run now. */
  first(mayRun: MayRun): T | undefined {
    let first: T | undefined;
    for (const [taskDigest, heap] of this.#heaps) {
      const ticket = heap.first!;
      const { tenant } = ticket;
      if ((first === undefined || isSooner(ticket, first)) && mayRun(taskDigest, tenant)) first = ticket;
    }
    return first;
  }

  /** Work of those that are due no later. */
  workBefore(due: number): number {
    if (due >= this.#latest) return this.workMs;
    let sum = 0;
    for (const { items } of this.#heaps.values()) for (const item of items) if (item.due <= due) sum += item.costMs;
    return sum;
  }

  /** The first of each package. */
  *heads(): Iterable<T> {
    for (const heap of this.#heaps.values()) yield heap.first!;
  }

  of(taskDigest: string): readonly T[] {
    return this.#heaps.get(taskDigest)?.items ?? [];
  }
}

export function isSooner(a: Ticket, b: Ticket): boolean {
  return a.due === b.due ? a.order < b.order : a.due < b.due;
}

/** The tenants that wait in one class. */
export class ClassQueue<T extends Ticket> {
  readonly active = new Heap<Line<T>>((a, b) => (a.start === b.start ? a.turn < b.turn : a.start < b.start));
  /** Those that wait, and those that did a while ago. */
  readonly #lines = new Map<string, Line<T>>();
  readonly #weightOf: (tenant: string) => number;
  #virtual = 0;
  #turns = 0;
  workMs = 0;
  /** Time that it was not given although its least share says so. */
  owedMs = 0;

  constructor(weightOf: (tenant: string) => number) {
    this.#weightOf = weightOf;
  }

  push(ticket: T): void {
    let line = this.#lines.get(ticket.tenant);
    if (line === undefined) {
      if (this.#lines.size > this.active.size + MAX_IDLE) this.#forgetIdle();
      line = new Line<T>();
      this.#lines.set(ticket.tenant, line);
    }
    line.push(ticket);
    this.workMs += ticket.costMs;
    if (line.count > 1) return;
    line.weight = Math.max(1e-3, this.#weightOf(ticket.tenant));
    line.start = Math.max(line.start, this.#virtual);
    line.turn = this.#turns++;
    this.active.push(line);
  }

  remove(ticket: T): void {
    const line = this.#lines.get(ticket.tenant)!;
    line.remove(ticket);
    this.workMs -= ticket.costMs;
    if (line.count > 0) return;
    this.active.remove(line);
    if (this.active.size === 0) {
      this.workMs = 0;
      this.owedMs = 0;
    }
  }

  next(mayRun: MayRun): T | undefined {
    const head = this.active.first?.first(mayRun);
    if (head !== undefined) return head;
    let found: T | undefined;
    let start = Number.POSITIVE_INFINITY;
    for (const line of this.active.items) {
      if (line.start >= start) continue;
      const ticket = line.first(mayRun);
      if (ticket === undefined) continue;
      found = ticket;
      start = line.start;
    }
    return found;
  }

  /** It is about to run: its tenant has had its time. */
  begin(ticket: T): void {
    const line = this.#lines.get(ticket.tenant)!;
    this.#virtual = Math.max(this.#virtual, line.start);
    line.start += ticket.costMs / line.weight;
    line.turn = this.#turns++;
    if (line.place >= 0) this.active.moved(line);
    this.remove(ticket);
  }

  /** It took so much more than had been charged, or less. */
  charge(tenant: string, moreMs: number): void {
    const line = this.#lines.get(tenant);
    if (line === undefined) return;
    line.start = Math.min(line.start + moreMs / line.weight, this.#virtual + MAX_DEBT_MS / line.weight);
    if (line.place >= 0) this.active.moved(line);
  }

  /** Work of this class that runs before one of this tenant that is due then. */
  workBefore(tenant: string, due: number): number {
    const own = this.#lines.get(tenant);
    const ownMs = own === undefined || own.count === 0 ? 0 : own.workBefore(due);
    const weight = own?.count ? own.weight : Math.max(1e-3, this.#weightOf(tenant));
    const start = Math.max(own?.start ?? 0, this.#virtual) + ownMs / weight;
    let sum = ownMs;
    for (const line of this.active.items) {
      if (line === own || line.start > start) continue;
      // The one that it is at, and those that start before.
      sum += Math.min(line.workMs, (start - line.start) * line.weight + line.workMs / line.count);
    }
    return sum;
  }

  *lines(): Iterable<Line<T>> {
    yield* this.active.items;
  }

  #forgetIdle(): void {
    for (const [tenant, line] of this.#lines) {
      if (line.count === 0) this.#lines.delete(tenant);
    }
  }
}
