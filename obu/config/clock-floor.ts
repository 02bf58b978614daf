import { closeSync, futimesSync, openSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { messageOf } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';

/** How often the time is written down, in milliseconds. */
const NOTE_MS = 60_000;

export interface ClockState {
  /** ISO 8601, UTC: it is this late at least. */
  readonly floor: string;
  /** Source of this bound: `build`, `state` (this OBU ran then) or `manifest` (it was applied then). */
  readonly from: 'build' | 'state' | 'manifest';
  /** The clock says that it is earlier: it has not been set. */
  readonly behind: boolean;
}

/**
 * The earliest time that it can be now. A machine without a battery wakes up in 1970, or where its image was made;
 * nothing waits for that but what needs certificates, and a person is shown it. The time at which the OBU ran last is
 * the modification time of a file in its state folder, as systemd-timesyncd keeps it.
 */
export class ClockFloor {
  readonly #file: string;
  readonly #log: Logger;
  readonly #wallMs: () => number;
  #floor: { readonly ms: number; readonly from: ClockState['from'] };
  #timer: NodeJS.Timeout | undefined;
  #failure = '';

  /** @param file its modification time is the last time that this OBU ran; made when missing */
  constructor(file: string, log: Logger, wallMs: () => number = Date.now, build: number = buildMs()) {
    this.#file = file;
    this.#log = log;
    this.#wallMs = wallMs;
    this.#floor = { ms: build, from: 'build' };
  }

  /** @param appliedAtMs when the manifest was applied, milliseconds since 1970 */
  start(appliedAtMs: number | undefined): void {
    this.#raise(statSync(this.#file, { throwIfNoEntry: false })?.mtimeMs, 'state');
    this.#raise(appliedAtMs, 'manifest');
    const { behind, floor, from } = this.state;
    if (behind) {
      const reason = `the clock says ${isoOf(this.#wallMs())}, and it is ${floor} at least (${from}); set the clock, or remove ${this.#file} if it is right`;
      this.#log.warn({ reason, path: this.#file }, 'the clock is not set');
    }
    this.#note();
    this.#timer = setInterval(() => this.#note(), NOTE_MS);
    this.#timer.unref();
  }

  stop(): void {
    if (this.#timer === undefined) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#note();
  }

  get state(): ClockState {
    const { ms, from } = this.#floor;
    return { floor: isoOf(ms), from, behind: this.#wallMs() < ms };
  }

  #raise(ms: number | undefined, from: ClockState['from']): void {
    if (ms !== undefined && ms > this.#floor.ms) this.#floor = { ms, from };
  }

  /** A clock that has not been set is not worth being written down. */
  #note(): void {
    const now = this.#wallMs();
    if (now < this.#floor.ms) return;
    try {
      const file = openSync(this.#file, 'a', 0o600);
      try {
        futimesSync(file, now / 1000, now / 1000);
      } finally {
        closeSync(file);
      }
      this.#failure = '';
    } catch (error) {
      const reason = messageOf(error);
      if (reason !== this.#failure) this.#log.warn({ path: this.#file, reason }, 'cannot save the time');
      this.#failure = reason;
    }
  }
}

function buildMs(): number {
  return statSync(fileURLToPath(import.meta.url)).mtimeMs;
}

function isoOf(ms: number): string {
  return new Date(ms).toISOString();
}
