import type { CanBus } from '../../shared/can/bus.ts';

/** Frames per second and load of one bus over the last second. */
export class BusMeter {
  readonly #bus: CanBus;
  readonly #bitrate: number;
  #atMs = performance.now();
  #frames = 0;
  #bits = 0;
  framesPerSecond = 0;
  /** Share of the bit rate, 0..1. */
  load = 0;

  /** @param bitrate Bits per second. */
  constructor(bus: CanBus, bitrate: number) {
    this.#bus = bus;
    this.#bitrate = bitrate;
  }

  /** To be called once a second. */
  sample(): void {
    const { framesReceived, framesSent, bits } = this.#bus.stats;
    const nowMs = performance.now();
    const seconds = (nowMs - this.#atMs) / 1000;
    const frames = framesReceived + framesSent;
    this.framesPerSecond = (frames - this.#frames) / seconds;
    this.load = Math.min(1, (bits - this.#bits) / seconds / this.#bitrate);
    this.#atMs = nowMs;
    this.#frames = frames;
    this.#bits = bits;
  }
}
