import { getStatus } from '../../shared/api/control-client.ts';
import { repeat } from '../../shared/base/pause.ts';

/** Between one answer and the next question, and how long an answer may take, in milliseconds. */
const EVERY_MS = 500;
const TIMEOUT_MS = 2000;
/** An answer that is older than this is said to be old. */
const SILENT_MS = 1500;

/**
 * Asks one daemon for its status again and again, by itself: a daemon that hangs delays nobody's but its own. Nothing here
 * is ever waited for by who looks.
 */
export class StatusPoll<Status> {
  readonly #socket: () => string;
  readonly #abort = new AbortController();
  #last: Status | undefined;
  #answeredAt: number | undefined;
  #failed = false;
  #running: Promise<void> | undefined;

  /** @param socket path of its control socket, asked for when it is needed */
  constructor(socket: () => string) {
    this.#socket = socket;
  }

  /** Its last answer; undefined before the first. */
  get last(): Status | undefined {
    return this.#last;
  }

  /** How long ago the last answer came, in milliseconds; undefined while it answers, and before it ever did. */
  get silentMs(): number | undefined {
    if (this.#answeredAt === undefined) return undefined;
    const ms = performance.now() - this.#answeredAt;
    return this.#failed || ms > SILENT_MS ? ms : undefined;
  }

  /** Asks once. @throws KerbError ApiUnavailable */
  async ask(): Promise<Status> {
    try {
      const status = await getStatus<Status>(this.#socket(), TIMEOUT_MS);
      this.#last = status;
      this.#answeredAt = performance.now();
      this.#failed = false;
      return status;
    } catch (error) {
      this.#failed = true;
      throw error;
    }
  }

  /** Goes on asking until it is stopped. */
  start(): void {
    // That it fails is what `silentMs` says.
    this.#running ??= repeat(EVERY_MS, this.#abort.signal, () => this.ask().catch(() => {}));
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#running;
  }
}
