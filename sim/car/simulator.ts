/**
 * The car on its bus: steps the model in real time and sends each message at its own cycle time. A message is due at
 * start + offset + n * cycle, not a cycle after it was sent, so nothing drifts. A cycle that was missed altogether is
 * left out; after more than a second of that (the machine slept) the car goes on from where it was.
 */

import { ErrorCode, isKerbError, KerbError } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import type { CanBus } from '../../shared/can/bus.ts';
import { dataFrame } from '../../shared/can/frame.ts';
import type { Dbc } from '../../shared/dbc/dbc.ts';
import { compileMessage, type MessageCodec } from '../../shared/dbc/message-codec.ts';
import { Car, type CarState, STEP } from './car.ts';
import { ecus, type SignalValues } from './ecus.ts';

/** Messages begin this far apart, so that they do not all come at once. */
const OFFSET_MS = 1;
const MAX_LATE_MS = 1000;

interface Sender {
  readonly codec: MessageCodec;
  readonly values: (state: CarState, sent: number) => SignalValues;
  readonly cycleMs: number;
  dueMs: number;
  sent: number;
}

export interface CanSimulatorOptions {
  /** Started and stopped by its owner. */
  readonly bus: CanBus;
  readonly dbc: Dbc;
  readonly seed: number;
  readonly log: Logger;
}

export class CanSimulator {
  readonly #options: CanSimulatorOptions;
  readonly #car: Car;
  #senders: Sender[] = [];
  #timer: NodeJS.Timeout | undefined;
  #startedMs = 0;
  #steps = 0;
  #failed = 0;

  constructor(options: CanSimulatorOptions) {
    this.#options = options;
    this.#car = new Car(options.seed);
  }

  get state(): CarState {
    return this.#car.state;
  }

  /** Frames that the bus did not take. */
  get framesFailed(): number {
    return this.#failed;
  }

  /** @throws KerbError SimulatorFailed when the database has a cyclic message that no control unit here sends */
  start(): void {
    if (this.#timer !== undefined) return;
    this.#startedMs = performance.now();
    this.#steps = 0;
    this.#senders = this.#options.dbc.messages
      .filter(({ cycleMs }) => cycleMs > 0)
      .map((message, i) => {
        const values = Object.hasOwn(ecus, message.name) ? ecus[message.name] : undefined;
        if (values === undefined) {
          throw new KerbError(
            ErrorCode.SimulatorFailed,
            `${this.#options.dbc.file}: no simulated control unit sends message ${message.name}`,
            { message: message.name },
          );
        }
        const dueMs = this.#startedMs + i * OFFSET_MS;
        return { codec: compileMessage(message), values, cycleMs: message.cycleMs, dueMs, sent: 0 };
      });
    this.#tick();
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #tick(): void {
    const now = performance.now();
    this.#stepTo(now);
    const state = this.#car.state;
    let nextMs = Number.POSITIVE_INFINITY;
    for (const sender of this.#senders) {
      if (sender.dueMs <= now) {
        this.#send(sender, state);
        const missed = Math.floor((now - sender.dueMs) / sender.cycleMs);
        // Late by less than a cycle is the common case: the next one stays where it was planned.
        sender.dueMs += sender.cycleMs * (1 + missed);
      }
      nextMs = Math.min(nextMs, sender.dueMs);
    }
    this.#timer = setTimeout(() => this.#tick(), Math.max(0, nextMs - performance.now()));
  }

  #stepTo(now: number): void {
    const wanted = Math.floor((now - this.#startedMs) / (STEP * 1000));
    if (wanted - this.#steps > MAX_LATE_MS / (STEP * 1000)) {
      // The machine slept: the car stood still, and goes on from where it was.
      this.#startedMs += (wanted - this.#steps) * STEP * 1000;
      return;
    }
    for (; this.#steps < wanted; this.#steps++) this.#car.step();
  }

  #send(sender: Sender, state: CarState): void {
    const { bus, log } = this.#options;
    const { message } = sender.codec;
    const data = sender.codec.encode(sender.values(state, sender.sent));
    sender.sent++;
    try {
      bus.send(dataFrame(message.id, data, { ext: message.ext, fd: message.fd, brs: message.fd }));
    } catch (error) {
      if (isKerbError(error, ErrorCode.BusWriteFailed) && error.context.noFd === true) {
        log.warn({ bus: bus.name, reason: `message ${message.name}: ${error.message}` }, 'a message is not sent');
        this.#senders = this.#senders.filter((other) => other !== sender);
        return;
      }
      // A control unit whose frame is not taken goes on with the next one; so does this.
      if (!isKerbError(error, ErrorCode.BusWriteFailed) && !isKerbError(error, ErrorCode.BusDown)) throw error;
      if (this.#failed++ === 0) log.warn({ bus: bus.name, reason: error.message }, 'a frame was not sent');
    }
  }
}
