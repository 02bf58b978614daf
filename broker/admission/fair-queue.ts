/**
 * The order in which offloads run, over all packages. Pure; times in milliseconds.
 *
 * Classes in their order, but each has a least share; within a class, tenants by weight; within a tenant, the earliest
 * deadline first (`ClassQueue`).
 *
 * Hot path: two heaps a class, no object but the ticket.
 */
import { SERVICE_CLASSES } from '../../shared/protocol/service-class.ts';
import { ClassQueue, isSooner, MAX_DEBT_MS, type MayRun, type Ticket } from './class-queue.ts';
import type { OrderRules } from './terms.ts';

export const NO_RULES: OrderRules = {
  weightOf: () => 1,
  classShares: { safety: 0, high: 0.2, normal: 0.1, idle: 0.02 },
};

export class FairQueue<T extends Ticket> {
  readonly #classes: readonly ClassQueue<T>[];
  readonly #rules: Pick<OrderRules, 'weightOf' | 'classShares'>;
  #size = 0;

  constructor(rules: Pick<OrderRules, 'weightOf' | 'classShares'>) {
    this.#rules = rules;
    this.#classes = SERVICE_CLASSES.map(() => new ClassQueue<T>((tenant) => rules.weightOf(tenant)));
  }

  get size(): number {
    return this.#size;
  }

  /** Work that waits. */
  get workMs(): number {
    let sum = 0;
    for (const { workMs } of this.#classes) sum += workMs;
    return sum;
  }

  push(ticket: T): void {
    this.#classes[ticket.rank]!.push(ticket);
    this.#size++;
  }

  /** It has to wait in here. */
  remove(ticket: T): void {
    this.#classes[ticket.rank]!.remove(ticket);
    this.#size--;
  }

  /** The next one of those that may run now; it stays. */
  next(mayRun: MayRun): T | undefined {
    const classes = this.#classes;
    for (let rank = 1; rank < classes.length; rank++) {
      const { owedMs } = classes[rank]!;
      if (owedMs <= 0) continue;
      const owed = classes[rank]!.next(mayRun);
      if (owed !== undefined && owedMs >= owed.costMs) return owed;
    }
    for (const queue of classes) {
      const ticket = queue.active.size === 0 ? undefined : queue.next(mayRun);
      if (ticket !== undefined) return ticket;
    }
    return undefined;
  }

  /** Takes it out, to be run. */
  begin(ticket: T): void {
    const { rank, costMs } = ticket;
    for (let other = 0; other < this.#classes.length; other++) {
      const queue = this.#classes[other]!;
      if (queue.active.size === 0) continue;
      const owed = queue.owedMs + this.#least(other) * costMs - (other === rank ? costMs : 0);
      queue.owedMs = Math.min(MAX_DEBT_MS, Math.max(0, owed));
    }
    this.#classes[rank]!.begin(ticket);
    this.#size--;
  }

  charge({ rank, tenant }: T, moreMs: number): void {
    this.#classes[rank]!.charge(tenant, moreMs);
  }

  /** Work that would run before one of this class and tenant that is due then. */
  workBefore(rank: number, tenant: string, due: number): number {
    const inClass = this.#classes[rank]!.workBefore(tenant, due);
    let higher = 0;
    let lower = 0;
    for (let other = 0; other < this.#classes.length; other++) {
      const { workMs, active } = this.#classes[other]!;
      if (other < rank) higher += workMs;
      else if (other > rank && active.size > 0) lower += this.#least(other);
    }
    const least = this.#least(rank);
    const before = least > 0 ? Math.min(higher + inClass, Math.max(inClass / least, inClass)) : higher + inClass;
    return before / Math.max(0.1, 1 - lower);
  }

  /** One after the other, in no order. */
  *heads(): Iterable<T> {
    for (const queue of this.#classes) for (const line of queue.lines()) yield* line.heads();
  }

  /** All that wait for this package, the earliest first. */
  of(taskDigest: string): T[] {
    const found: T[] = [];
    for (const queue of this.#classes) for (const line of queue.lines()) found.push(...line.of(taskDigest));
    return found.sort((a, b) => (isSooner(a, b) ? -1 : 1));
  }

  #least(rank: number): number {
    return this.#rules.classShares[SERVICE_CLASSES[rank]!];
  }
}
