/**
 * A bus that need not be there yet. Programs that run for long start with the car, and an interface (or the process of a
 * userspace bus) may come later than they: until then this bus is down, with the reason, and each second looks again,
 * at what kind of bus it is to be as well. Once it was there it comes back by itself, as every bus does.
 */

import { isKerbError } from '../base/errors.ts';
import { type Logger, silentLog } from '../base/log.ts';
import type { BusKind, CanBus } from './bus.ts';
import { CoreBus } from './core-bus.ts';
import type { CanFrame } from './frame.ts';
import { type BusChoice, type OpenBusOptions, openBus } from './open-bus.ts';

const RETRY_MS = 1000;

export class ReconnectingBus extends CoreBus {
  readonly #choice: BusChoice;
  readonly #options: OpenBusOptions;
  readonly #log: Logger;
  #running = false;
  #timer: NodeJS.Timeout | undefined;
  /** The one that was tried last. All of them share one core, which is this bus's own. */
  #bus: CanBus | undefined;

  constructor(choice: BusChoice, options: Omit<OpenBusOptions, 'core'> = {}) {
    super();
    this.#choice = choice;
    this.#options = { ...options, core: this.core };
    this.#log = options.log ?? silentLog();
  }

  get name(): string {
    return this.#choice.name;
  }

  /** As far as it is known: until the bus is there it may still turn out to be of the other kind. */
  get kind(): BusKind {
    return this.#bus?.kind ?? (this.#choice.kind === 'userspace' ? 'userspace' : 'socketcan');
  }

  /** Never fails because of the bus. */
  async start(): Promise<void> {
    if (this.#running) return;
    this.#running = true;
    await this.#try();
  }

  async stop(): Promise<void> {
    this.#running = false;
    clearTimeout(this.#timer);
    await this.#bus?.stop();
    this.core.down('stopped');
  }

  send(frame: CanFrame): void {
    if (this.#bus === undefined) this.core.mustBeSendable(frame, this.name);
    this.#bus!.send(frame);
  }

  async #try(): Promise<void> {
    const { bus, reason } = openBus(this.#choice, this.#options);
    this.#bus = bus;
    try {
      await bus.start();
    } catch (error) {
      if (!this.#running) return;
      if (!isKerbError(error)) throw error;
      const why = this.#choice.kind === 'auto' ? `${error.message} (${reason})` : error.message;
      const before = this.state;
      this.core.down(why);
      if (this.state !== before)
        this.#log.warn({ bus: this.name, reason: why }, 'cannot attach to the bus; trying again');
      this.#timer = setTimeout(() => void this.#try(), RETRY_MS);
      return;
    }
    if (!this.#running) {
      await bus.stop();
      return;
    }
    this.#log.info({ bus: this.name, reason }, 'attached to the bus');
  }
}
