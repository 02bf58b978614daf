import { ErrorCode, KerbError } from './errors.ts';
import type { Logger } from './log.ts';

/** Something that a daemon runs. */
export interface Part<T = unknown> {
  /** Undefined: it runs already. Called as a method, so that a class with `start` and `stop` is a part as it is. */
  start?(): Promise<T> | T;
  /** Must take back half a start as well: it is called while `start` is under way, and after a `start` that failed. */
  stop(): Promise<unknown> | unknown;
}

/** The parts of one daemon or rig: they start in the order of the calls, and stop in reverse. */
export class RunningParts {
  readonly #log: Logger;
  /** In the order of starting. */
  readonly #parts: { readonly name: string; readonly part: Part }[] = [];
  #stopping: Promise<void> | undefined;

  /** @param log gets the errors of stopping, which nobody else hears of */
  constructor(log: Logger) {
    this.#log = log;
  }

  /**
   * Runs `start`, which calls `begin` for each part. Whatever fails in it, its error is thrown after all that was
   * started has been stopped in reverse; errors of stopping never take its place.
   * @param signal when it is aborted, the parts are stopped at once, in the middle of a part's start too; without it,
   *   a start that is under way comes to its end
   * @throws KerbError Cancelled when it was stopped meanwhile, and whatever `start` throws
   */
  async startAll<T>(start: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const onAbort = () => void this.stop();
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      if (signal?.aborted) throw cancelled();
      const started = await start();
      if (this.#stopping !== undefined) throw cancelled();
      return started;
    } catch (error) {
      await this.stop();
      throw error;
    } finally {
      signal?.removeEventListener('abort', onAbort);
    }
  }

  /**
   * Starts a part. It is on the list before it starts, so that a stop in the middle takes it back as well.
   * @returns what its `start` gives
   * @throws KerbError Cancelled when the parts were stopped before or meanwhile: then the part is stopped too. And
   *   whatever its `start` throws
   */
  begin<T>(name: string, part: Part<T> & Required<Pick<Part<T>, 'start'>>): Promise<T>;
  begin(name: string, part: Part): Promise<void>;
  async begin(name: string, part: Part): Promise<unknown> {
    if (this.#stopping !== undefined) {
      // What runs already has nobody else who would stop it.
      if (part.start === undefined) await this.#stop(name, part);
      throw cancelled();
    }
    this.#parts.push({ name, part });
    const started = await part.start?.();
    if (this.#stopping === undefined) return started;
    // What it has made after it was stopped goes as well.
    await this.#stop(name, part);
    throw cancelled();
  }

  /** Stops all parts, the last one started first, also after one that fails to stop. Never rejects; safe to call twice. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stopAll();
    return this.#stopping;
  }

  async #stopAll(): Promise<void> {
    for (const { name, part } of this.#parts.splice(0).reverse()) await this.#stop(name, part);
  }

  async #stop(name: string, part: Part): Promise<void> {
    try {
      await part.stop();
    } catch (error) {
      this.#log.error({ part: name, err: error }, 'a part could not be stopped cleanly');
    }
  }
}

function cancelled(): KerbError {
  return new KerbError(ErrorCode.Cancelled, 'stopped while it started');
}
