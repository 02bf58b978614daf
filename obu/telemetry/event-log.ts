import type { EventKind, ObuEvent } from '../../shared/api/obu.ts';
import { newestItems } from '../../shared/base/newest-items.ts';

/** Events that are kept, and of one name: nobody can push out what happened to the others. */
const MAX_EVENTS = 1000;
const MAX_OF_ONE = 100;
/** Events that wait for somebody who follows and reads slowly. */
const MAX_WAITING = MAX_EVENTS + 200;

/** Recent events, in memory; empty after a start of the OBU. */
export class EventLog {
  readonly #events: ObuEvent[] = [];
  readonly #listeners = new Set<(event: ObuEvent) => void>();
  #lastId = 0;

  add(kind: EventKind, name: string, word: string, message: string): void {
    const time = new Date().toISOString();
    const before = this.#events.findLastIndex((one) => one.name === name);
    const last = this.#events[before];
    if (last?.kind === kind && last.word === word && last.message === message) {
      this.#events[before] = { ...last, repeats: last.repeats + 1 };
      return;
    }
    const event: ObuEvent = { id: ++this.#lastId, time, kind, name, word, message, repeats: 0 };
    this.#events.push(event);
    if (this.#events.filter((one) => one.name === name).length > MAX_OF_ONE) {
      this.#events.splice(
        this.#events.findIndex((one) => one.name === name),
        1,
      );
    }
    if (this.#events.length > MAX_EVENTS) this.#events.shift();
    for (const listener of this.#listeners) listener(event);
  }

  /** The oldest first. @param name only of this workload, bus, camera … */
  list(after = 0, name?: string): readonly ObuEvent[] {
    return this.#events.filter((one) => one.id > after && (name === undefined || one.name === name));
  }

  /** The kept events and then new ones, until `signal` fires. A slow reader misses the oldest. */
  async *follow(after: number, name: string | undefined, signal: AbortSignal): AsyncGenerator<ObuEvent> {
    const subscribe = (push: (events: readonly ObuEvent[]) => void) => {
      const listener = (event: ObuEvent) => {
        if (name === undefined || event.name === name) push([event]);
      };
      this.#listeners.add(listener);
      return () => this.#listeners.delete(listener);
    };
    yield* newestItems({ subscribe, mostWaiting: MAX_WAITING, first: this.list(after, name) }, signal);
  }
}
