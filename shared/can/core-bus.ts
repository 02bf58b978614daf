import type { BusKind, BusState, BusStats, CanBus } from './bus.ts';
import { BusCore } from './bus-core.ts';
import type { CanFrame } from './frame.ts';

/**
 * A bus that keeps its subscribers, state and counters in a core. The core may be another bus's: then a frame that comes
 * in here reaches the subscribers of that one directly, and whatever happens to this bus is its state.
 */
export abstract class CoreBus implements CanBus {
  abstract readonly name: string;
  abstract readonly kind: BusKind;
  protected readonly core: BusCore;

  constructor(core: BusCore = new BusCore()) {
    this.core = core;
  }

  get state(): BusState {
    return this.core.state;
  }

  get stats(): BusStats {
    return this.core.stats;
  }

  subscribe(listener: (frame: CanFrame) => void): () => void {
    return this.core.subscribe(listener);
  }

  onState(listener: (state: BusState) => void): () => void {
    return this.core.onState(listener);
  }

  abstract start(): Promise<void>;
  abstract stop(): Promise<void>;
  abstract send(frame: CanFrame): void;
}
