/**
 * What one connection has to send, in an order that is fair and with memory that is bounded.
 *
 * Answers go first; then the streams of the subscriptions take turns. As soon as the container reads more slowly than
 * it is sent to, nothing more is handed to the socket until it has drained: the rest waits in the bounded queue of each
 * subscription, which loses its own oldest items. So a slow container costs at most HIGH_WATER and one message on its
 * socket, and nobody else notices.
 *
 * Hot path: a stream wakes the outbox once per turn of the event loop, whatever the number of its frames.
 */

/** Bytes that may wait on the socket before streams are held back. */
export const HIGH_WATER = 256 * 1024;
/** Answers that may wait before the connection stops reading requests. */
export const MAX_WAITING_ANSWERS = 128;

/** The socket, as far as the outbox needs it. */
export interface Sink {
  write(bytes: Uint8Array): void;
  /** Bytes written and not yet taken by the kernel. */
  readonly pending: number;
  cork(): void;
  uncork(): void;
}

/** A subscription that has messages to send. */
export interface Stream {
  /** The next message as ready bytes, or undefined when there is none. */
  take(): readonly Uint8Array[] | undefined;
  /** Lets go of timers: nothing is pushed and nothing taken any more. */
  end?(): void;
}

interface Answer {
  readonly bytes: readonly Uint8Array[];
  readonly sent: (() => void) | undefined;
}

export class Outbox {
  readonly #sink: Sink;
  readonly #onCrowded: (crowded: boolean) => void;
  readonly #onFull: (full: boolean) => void;
  readonly #answers: Answer[] = [];
  /** Streams that have something, in the order of their turns. */
  readonly #ready = new Set<Stream>();
  #scheduled: NodeJS.Immediate | undefined;
  #crowded = false;
  #full = false;
  #closed = false;

  /**
   * @param onCrowded Called with true when requests have to wait for answers to leave, with false when they needn't.
   * @param onFull Called with true when nothing more goes onto the socket, with false when something does again.
   */
  constructor(sink: Sink, onCrowded: (crowded: boolean) => void, onFull: (full: boolean) => void = () => {}) {
    this.#sink = sink;
    this.#onCrowded = onCrowded;
    this.#onFull = onFull;
  }

  /** Sends an answer; `sent` is called when it was handed to the socket, or never if the connection ends before. */
  answer(bytes: readonly Uint8Array[], sent?: () => void): void {
    if (this.#closed) return;
    this.#answers.push({ bytes, sent });
    this.#schedule();
    this.#updateCrowded();
  }

  /** A stream has something to send. */
  wake(stream: Stream): void {
    if (this.#closed) return;
    this.#ready.add(stream);
    this.#schedule();
  }

  forget(stream: Stream): void {
    this.#ready.delete(stream);
  }

  /** To be called when the socket has drained. */
  drained(): void {
    this.#flush();
  }

  /** Hands over the answers that wait, whatever the socket says, and takes nothing more. */
  close(): void {
    if (this.#closed) return;
    for (const { bytes } of this.#answers) for (const part of bytes) this.#sink.write(part);
    this.#abandon();
  }

  /** Takes nothing more and forgets what waits. */
  #abandon(): void {
    this.#closed = true;
    this.#answers.length = 0;
    this.#ready.clear();
    if (this.#scheduled) clearImmediate(this.#scheduled);
    this.#scheduled = undefined;
  }

  /** The connection is gone. */
  discard(): void {
    this.#abandon();
  }

  #schedule(): void {
    this.#scheduled ??= setImmediate(() => {
      this.#scheduled = undefined;
      this.#flush();
    });
  }

  #flush(): void {
    if (this.#closed) return;
    this.#sink.cork();
    try {
      while (this.#sink.pending < HIGH_WATER) {
        const answer = this.#answers.shift();
        if (answer !== undefined) {
          for (const part of answer.bytes) this.#sink.write(part);
          answer.sent?.();
          continue;
        }
        const stream = this.#ready.values().next().value;
        if (stream === undefined) break;
        // To the end of the line, if it has more.
        this.#ready.delete(stream);
        const bytes = stream.take();
        if (bytes === undefined) continue;
        for (const part of bytes) this.#sink.write(part);
        this.#ready.add(stream);
      }
    } finally {
      this.#sink.uncork();
    }
    const full = this.#sink.pending >= HIGH_WATER;
    if (full !== this.#full) {
      this.#full = full;
      this.#onFull(full);
    }
    this.#updateCrowded();
  }

  #updateCrowded(): void {
    const crowded = this.#answers.length >= MAX_WAITING_ANSWERS;
    if (crowded === this.#crowded) return;
    this.#crowded = crowded;
    this.#onCrowded(crowded);
  }
}
