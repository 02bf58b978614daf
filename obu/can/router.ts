/**
 * One frame, checked once, to all who may have it and asked for it.
 *
 * Hot path, one call of `#route` per frame of the bus. The rules here: which subscriptions get an id is looked up in
 * one table and not asked per subscription; nothing is allocated per frame; a listener must return at once and queue
 * what it cannot do (the gateway owns the bounded queue of each container). Filters are evaluated only for the first
 * frame of an id after a subscription came or went.
 */

import type { CanBus } from '../../shared/can/bus.ts';
import { type CanFilter, compileFilters, type FrameMatcher } from '../../shared/can/filter.ts';
import { type CanFrame, linuxIdOf } from '../../shared/can/frame.ts';

/** Ids that the table remembers. Real buses have hundreds; a flood of random 29-bit ids must not eat the memory. */
const MAX_TABLE = 65_536;

interface Subscription {
  readonly matches: FrameMatcher;
  readonly listener: (frame: CanFrame) => void;
  readonly owner: object | undefined;
  active: boolean;
}

export class CanRouter {
  readonly #bus: CanBus;
  #subscriptions: readonly Subscription[] = [];
  /** Error frames are not in it: their filters look at error classes. */
  readonly #table = new Map<number, readonly Subscription[]>();
  #detach: (() => void) | undefined;

  constructor(bus: CanBus) {
    this.#bus = bus;
  }

  get bus(): CanBus {
    return this.#bus;
  }

  /** Begins to listen to the bus, which its owner starts and stops. */
  start(): void {
    this.#detach ??= this.#bus.subscribe((frame) => this.#route(frame));
  }

  stop(): void {
    this.#detach?.();
    this.#detach = undefined;
  }

  /**
   * Calls the listener with each frame that passes `asked` and `granted`; `asked` undefined or empty asks for
   * everything granted, an empty `granted` gives nothing. Returns the function that ends it.
   * @param owner Does not get the frames that it sends itself, as a CAN_RAW socket does not.
   */
  subscribe(
    asked: readonly CanFilter[] | undefined,
    granted: readonly CanFilter[],
    listener: (frame: CanFrame) => void,
    owner?: object,
  ): () => void {
    const mayHave = compileFilters(granted);
    const wants = asked === undefined || asked.length === 0 ? undefined : compileFilters(asked);
    const subscription: Subscription = {
      matches: wants === undefined ? mayHave : (frame) => mayHave(frame) && wants(frame),
      listener,
      owner,
      active: true,
    };
    this.#subscriptions = [...this.#subscriptions, subscription];
    this.#table.clear();
    return () => {
      if (!subscription.active) return;
      subscription.active = false;
      this.#subscriptions = this.#subscriptions.filter((other) => other !== subscription);
      this.#table.clear();
    };
  }

  /**
   * Hands the frame to the bus, and to all subscribers here but its owner: other programs on the bus get it from the
   * bus, which does not hand our own frames back to us.
   * @throws KerbError BusDown | BusWriteFailed | BadCanFrame; then nobody got it
   */
  send(frame: CanFrame, owner: object): void {
    this.#bus.send(frame);
    this.#route(frame, owner);
  }

  #route(frame: CanFrame, sender?: object): void {
    if (frame.err) {
      for (const subscription of this.#subscriptions) {
        if (subscription.active && subscription.matches(frame)) subscription.listener(frame);
      }
      return;
    }
    const key = linuxIdOf(frame);
    let takers = this.#table.get(key);
    if (takers === undefined) {
      takers = this.#subscriptions.filter((subscription) => subscription.matches(frame));
      if (this.#table.size >= MAX_TABLE) this.#table.clear();
      this.#table.set(key, takers);
    }
    for (const subscription of takers) {
      // A listener may end another subscription while this frame is on its way.
      if (!subscription.active || (sender !== undefined && subscription.owner === sender)) continue;
      subscription.listener(frame);
    }
  }
}
