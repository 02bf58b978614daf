import type { KerbError } from '../base/errors.ts';

/** Something that keeps coming from the OBU: `for await` it; leaving the loop ends the subscription. */
export interface ItemStream<T> extends AsyncIterable<T> {
  /** Frames, values or pictures lost so far because this program was slow, here or on the OBU. */
  readonly dropped: number;
  /** Ends the subscription; the loop ends after what has come already. */
  close(): void;
}

/**
 * A bounded queue between the socket and one `for await` loop. When the loop is slow, the oldest items go and are
 * counted; nothing else on the socket waits.
 */
export class QueuedStream<T> implements ItemStream<T> {
  readonly #capacity: number;
  readonly #weigh: (item: T) => number;
  readonly #onEnd: () => void;
  readonly #items: T[] = [];
  #weight = 0;
  #waiting: { resolve: (result: IteratorResult<T>) => void; reject: (error: unknown) => void } | undefined;
  #end: { readonly error: KerbError | undefined } | undefined;
  #droppedHere = 0;
  #droppedBefore = 0;
  #droppedThere = 0;

  /**
   * @param capacity What may wait, as `weigh` counts. Not in items: one read of the socket can bring hundreds of small
   * ones, before the loop, however quick, gets its turn.
   * @param weigh What this item counts as, in `dropped` too.
   * @param onEnd Called once when this side ends it.
   */
  constructor(capacity: number, weigh: (item: T) => number, onEnd: () => void) {
    this.#capacity = capacity;
    this.#weigh = weigh;
    this.#onEnd = onEnd;
  }

  get dropped(): number {
    return this.#droppedHere + this.#droppedBefore + this.#droppedThere;
  }

  /** @param droppedThere What the OBU says it lost of this subscription so far. */
  push(item: T, droppedThere: number): void {
    if (this.#end) return;
    this.#droppedThere = droppedThere;
    if (this.#waiting) {
      this.#waiting.resolve({ value: item, done: false });
      this.#waiting = undefined;
      return;
    }
    this.#items.push(item);
    this.#weight += this.#weigh(item);
    while (this.#weight > this.#capacity && this.#items.length > 1) this.#droppedHere += this.#weigh(this.#take()!);
  }

  /** The OBU counts from 0 again, because the subscription was opened again. */
  reopened(): void {
    this.#droppedBefore += this.#droppedThere;
    this.#droppedThere = 0;
  }

  /** Ends it from the other side; with an error the loop throws it after what has come already. */
  finish(error?: KerbError): void {
    if (this.#end) return;
    this.#end = { error };
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (error) waiting?.reject(error);
    else waiting?.resolve({ value: undefined, done: true });
  }

  close(): void {
    if (this.#end) return;
    this.finish();
    this.#onEnd();
  }

  [Symbol.asyncIterator](): AsyncIterator<T> {
    return {
      next: () => this.#next(),
      return: async () => {
        this.close();
        return { value: undefined, done: true };
      },
    };
  }

  #take(): T | undefined {
    const item = this.#items.shift();
    if (item !== undefined) this.#weight -= this.#weigh(item);
    return item;
  }

  #next(): Promise<IteratorResult<T>> {
    const item = this.#take();
    if (item !== undefined) return Promise.resolve({ value: item, done: false });
    if (this.#end?.error) return Promise.reject(this.#end.error);
    if (this.#end) return Promise.resolve({ value: undefined, done: true });
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
    });
  }
}
