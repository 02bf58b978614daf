import { ErrorCode } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import { type BusState, type CanBus, reasonOf } from '../../shared/can/bus.ts';
import { ReconnectingBus } from '../../shared/can/reconnecting-bus.ts';
import type { BusConfig } from '../config/config.ts';
import { BusMeter } from '../telemetry/bus-meter.ts';
import { CanRouter } from './router.ts';

const SAMPLE_MS = 1000;

export interface ObuBus {
  readonly config: BusConfig;
  readonly bus: CanBus;
  readonly router: CanRouter;
  readonly meter: BusMeter;
}

export interface BusesParts {
  readonly configs: readonly BusConfig[];
  /** Name of this program, for the log of a userspace bus. */
  readonly client: string;
  /** A bus is not, or no more, simply up. */
  readonly onTrouble: (bus: string, code: ErrorCode, reason: string) => void;
  /** A bus has come into another state. */
  readonly onState?: (bus: string, state: BusState) => void;
  readonly log: Logger;
}

/** The buses of one OBU. One that is missing or broken is down, with its reason, and everything else goes on. */
export class Buses {
  readonly all: readonly ObuBus[];
  readonly #parts: BusesParts;
  #timer: NodeJS.Timeout | undefined;
  readonly #unsubscribe: (() => void)[] = [];

  constructor(parts: BusesParts) {
    this.#parts = parts;
    this.all = parts.configs.map((config) => {
      const name = config.kind === 'userspace' ? config.name : (config.interface ?? config.name);
      const choice = { name, kind: config.kind, ...(config.socket && { socketPath: config.socket }) };
      const bus = new ReconnectingBus(choice, { log: parts.log.child({ bus: config.name }), client: parts.client });
      return { config, bus, router: new CanRouter(bus), meter: new BusMeter(bus, config.bitrate) };
    });
  }

  /** By the names that grants use. */
  get routers(): ReadonlyMap<string, CanRouter> {
    return new Map(this.all.map(({ config, router }) => [config.name, router]));
  }

  get byName(): ReadonlyMap<string, CanBus> {
    return new Map(this.all.map(({ config, bus }) => [config.name, bus]));
  }

  async start(): Promise<void> {
    for (const { config, bus, router } of this.all) {
      this.#unsubscribe.push(bus.onState((state) => this.#changed(config.name, state)));
      router.start();
    }
    await Promise.all(this.all.map(({ bus }) => bus.start()));
    this.#timer = setInterval(() => {
      for (const { meter } of this.all) meter.sample();
    }, SAMPLE_MS);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    for (const end of this.#unsubscribe.splice(0)) end();
    await Promise.all(this.all.map(({ bus }) => bus.stop()));
    for (const { router } of this.all) router.stop();
  }

  #changed(bus: string, state: BusState): void {
    const { log, onTrouble } = this.#parts;
    const reason = reasonOf(state);
    this.#parts.onState?.(bus, state);
    if (state.state === 'Up') {
      log.info({ bus, state: state.state }, 'bus state changed');
      return;
    }
    log.warn({ bus, state: state.state, reason }, 'bus state changed');
    const carries = state.state === 'Warning' || state.state === 'Passive';
    onTrouble(bus, carries ? ErrorCode.BusErrors : ErrorCode.BusDown, reason);
  }
}
