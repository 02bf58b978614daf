/**
 * How long a container may keep the OBU waiting on one of its connections. A frozen one can do nothing: only time in
 * which it was awake counts.
 */

import type { Socket } from 'node:net';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';

/** Until its Hello is complete. */
export const HELLO_MS = 10_000;
/** Until a message is complete that it has begun. */
export const MESSAGE_MS = 60_000;
/** Until it has read anything of what waits for it. That is only said: it loses its own, and nobody else's. */
export const READ_MS = 5000;

/** One wait with an end. */
export class ReceiveTimeout {
  readonly #ms: number;
  readonly #awakeSinceMs: () => number | undefined;
  readonly #onOver: () => void;
  #timer: NodeJS.Timeout | undefined;

  /** @param awakeSinceMs by `performance.now()`; undefined: it is frozen now */
  constructor(ms: number, awakeSinceMs: () => number | undefined, onOver: () => void) {
    this.#ms = ms;
    this.#awakeSinceMs = awakeSinceMs;
    this.#onOver = onOver;
  }

  /** Waits from now on, if it doesn't already. */
  begin(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      const since = this.#awakeSinceMs();
      if (since === undefined || performance.now() - since < this.#ms) this.begin();
      else this.#onOver();
    }, this.#ms);
  }

  /** What was waited for has come, or will not come any more. */
  end(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}

/** Names a container that reads nothing, once; one that reads slowly only loses what it is too slow for. */
export class StalledReaderDetector {
  readonly #socket: Socket;
  readonly #timeout: ReceiveTimeout;
  /** Bytes that the kernel had taken when the wait for more of that began. */
  #taken = 0;

  /** @param onStalled gets KerbError ReadsNothing */
  constructor(socket: Socket, awakeSinceMs: () => number | undefined, onStalled: (error: KerbError) => void) {
    this.#socket = socket;
    this.#timeout = new ReceiveTimeout(READ_MS, awakeSinceMs, () => {
      if (this.#takenNow() > this.#taken) {
        this.begin();
        return;
      }
      const message = `it has read nothing from its gateway for ${READ_MS / 1000} s; frames, signals and pictures that come are lost to it`;
      onStalled(new KerbError(ErrorCode.ReadsNothing, message));
    });
  }

  /** More waits for it than the socket holds. */
  begin(): void {
    this.#taken = this.#takenNow();
    this.#timeout.begin();
  }

  end(): void {
    this.#timeout.end();
  }

  #takenNow(): number {
    return this.#socket.bytesWritten - this.#socket.writableLength;
  }
}
