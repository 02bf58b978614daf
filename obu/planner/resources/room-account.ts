import { heldIn, type PlanView } from '../in-flight.ts';
import type { Intent } from '../intent.ts';
import type { Claim, ObservedContainer } from '../state.ts';
import { capacityOf, claimOf, minus, NOTHING, plus, sumOf } from './capacity.ts';

/** Who holds what while a plan is made, by declared limits. */
export class RoomAccount {
  readonly capacity: Claim;
  readonly #input: PlanView;
  /** What was given in this plan. */
  readonly #given = new Map<string, Claim>();
  #free: Claim;
  #used: Claim;

  /** @param containers all that are still there */
  constructor(input: PlanView, containers: readonly ObservedContainer[]) {
    this.#input = input;
    this.capacity = capacityOf(input.resources);
    this.#used = this.heldBy(containers);
    this.#free = minus(this.capacity, this.#used);
  }

  /** What nobody holds and nobody of higher priority than the one that is looked at is to have. */
  get free(): Claim {
    return this.#free;
  }

  /** What is held when the steps are done. */
  get used(): Claim {
    return this.#used;
  }

  /** What is in use no more and not to be given to anybody else. */
  keep(claim: Claim): void {
    this.#free = minus(this.#free, claim);
  }

  give(name: string, claim: Claim): void {
    this.#given.set(name, claim);
    this.#free = minus(this.#free, claim);
    this.#used = plus(this.#used, claim);
  }

  /** Takes a claim back from a workload, and what it was given earlier in this plan. */
  takeBack(name: string, claim: Claim): void {
    const all = plus(claim, this.#given.get(name) ?? NOTHING);
    this.#given.delete(name);
    this.#free = plus(this.#free, all);
    this.#used = minus(this.#used, all);
  }

  /** What these containers hold. */
  heldBy(containers: readonly ObservedContainer[]): Claim {
    return sumOf(containers.map((container) => heldIn(container, this.#input)));
  }

  /** What a workload needs to be started. */
  toStart(intent: Intent): Claim {
    return claimOf((intent.version ?? intent.desired).workload, this.#input.resources.undeclared);
  }

  /** What frozen containers need to go on: their memory they have. */
  toThaw(containers: readonly ObservedContainer[]): Claim {
    const { undeclared } = this.#input.resources;
    return sumOf(containers.map((container) => ({ memory: 0, cpus: claimOf(container, undeclared).cpus })));
  }
}
