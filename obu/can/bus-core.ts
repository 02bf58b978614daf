/**
 * What every kind of bus has: its subscribers, its state and its counters. Hot path (`deliver`): one call per frame,
 * nothing is allocated.
 */
import type { CanFrame } from '../../shared/can/frame.ts';
import { wireBits } from '../../shared/can/wire-bits.ts';
import type { BusState, BusStats } from './bus.ts';

export class BusCore {
  /** Replaced, never changed, so that a subscriber may come or go while a frame is being delivered. */
  #frameListeners: readonly ((frame: CanFrame) => void)[] = [];
  readonly #stateListeners = new Set<(state: BusState) => void>();
  #state: BusState = { state: 'Down', reason: 'not started' };
  #received = 0;
  #sent = 0;
  #dropped = 0;
  #bits = 0;

  get state(): BusState {
    return this.#state;
  }

  get stats(): BusStats {
    return { framesReceived: this.#received, framesSent: this.#sent, framesDropped: this.#dropped, bits: this.#bits };
  }

  subscribe(listener: (frame: CanFrame) => void): () => void {
    // Wrapped, so that the same function may subscribe twice and each subscription ends by itself.
    const entry = (frame: CanFrame) => listener(frame);
    this.#frameListeners = [...this.#frameListeners, entry];
    return () => {
      this.#frameListeners = this.#frameListeners.filter((other) => other !== entry);
    };
  }

  onState(listener: (state: BusState) => void): () => void {
    const entry = (state: BusState) => listener(state);
    this.#stateListeners.add(entry);
    return () => this.#stateListeners.delete(entry);
  }

  /** A frame came from the bus. */
  deliver(frame: CanFrame): void {
    this.#received++;
    this.#bits += wireBits(frame);
    for (const listener of this.#frameListeners) listener(frame);
  }

  /** A frame was handed to the bus. */
  countSent(frame: CanFrame): void {
    this.#sent++;
    this.#bits += wireBits(frame);
  }

  countDropped(frames: number): void {
    this.#dropped += frames;
  }

  up(): void {
    if (this.#state.state === 'Up') return;
    this.#set({ state: 'Up' });
  }

  down(reason: string): void {
    if (this.#state.state === 'Down' && this.#state.reason === reason) return;
    this.#set({ state: 'Down', reason });
  }

  #set(state: BusState): void {
    this.#state = state;
    for (const listener of [...this.#stateListeners]) listener(state);
  }
}
