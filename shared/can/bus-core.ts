/**
 * The base of every kind of bus: its subscribers, its state and its counters. Hot path (`deliver`): one call per frame,
 * nothing is allocated.
 */

import { ErrorCode, KerbError } from '../base/errors.ts';
import { type BusState, type BusStats, reasonOf } from './bus.ts';
import { type ControllerState, controllerAfter, explainController, reportsLoss } from './controller-state.ts';
import { type CanFrame, flagsOf, frameFault } from './frame.ts';
import { wireBits } from './wire-bits.ts';

export class BusCore {
  /** Replaced, never changed, so that a subscriber may come or go while a frame is being delivered. */
  #frameListeners: readonly ((frame: CanFrame) => void)[] = [];
  readonly #stateListeners = new Set<(state: BusState) => void>();
  #state: BusState = { state: 'Down', reason: 'not started' };
  #controller: ControllerState = 'Active';
  #received = 0;
  #sent = 0;
  #dropped = 0;
  #errors = 0;
  #bits = 0;

  get state(): BusState {
    return this.#state;
  }

  get stats(): BusStats {
    return {
      framesReceived: this.#received,
      framesSent: this.#sent,
      framesDropped: this.#dropped,
      errorFrames: this.#errors,
      bits: this.#bits,
    };
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
    if (frame.err) {
      this.#errors++;
      if (reportsLoss(frame)) this.#dropped++;
    } else {
      this.#received++;
      this.#bits += wireBits(frame);
    }
    if (frame.err || this.#controller === 'BusOff') this.#follow(frame);
    this.distribute(frame);
  }

  /** To the subscribers, and counted nowhere. */
  distribute(frame: CanFrame): void {
    for (const listener of this.#frameListeners) listener(frame);
  }

  /**
   * @param name of the bus
   * @throws KerbError BadCanFrame | BusDown when this frame cannot be sent, or none now
   */
  mustBeSendable(frame: CanFrame, name: string): void {
    const fault = frame.err ? 'error frames are never sent' : frameFault(frame.id, flagsOf(frame), frame.data.length);
    if (fault !== undefined) throw new KerbError(ErrorCode.BadCanFrame, `not sent to ${name}: ${fault}`);
    const { state } = this.#state;
    if (state !== 'Down' && state !== 'BusOff') return;
    const message = `${name} is ${state === 'Down' ? 'down' : 'off'}: ${reasonOf(this.#state)}`;
    throw new KerbError(ErrorCode.BusDown, message, { bus: name });
  }

  /** A frame was handed to the bus. */
  countSent(frame: CanFrame): void {
    this.#sent++;
    this.#bits += wireBits(frame);
  }

  countDropped(frames: number): void {
    this.#dropped += frames;
  }

  /** There is a bus to speak to. A controller that comes up begins without errors. */
  up(): void {
    if (this.#state.state !== 'Down') return;
    this.#controller = 'Active';
    this.enter({ state: 'Up' });
  }

  down(reason: string): void {
    this.enter({ state: 'Down', reason });
  }

  enter(state: BusState): void {
    if (this.#state.state === state.state && reasonOf(this.#state) === reasonOf(state)) return;
    this.#state = state;
    for (const listener of [...this.#stateListeners]) listener(state);
  }

  #follow(frame: CanFrame): void {
    const after = controllerAfter(this.#controller, frame);
    if (after === this.#controller) return;
    this.#controller = after;
    if (this.#state.state === 'Down') return;
    if (after === 'Active') this.enter({ state: 'Up' });
    else this.enter({ state: after, reason: explainController(after, frame) });
  }
}
