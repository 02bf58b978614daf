import { newestItems } from '../base/newest-items.ts';
import { type ControlRoute, jsonReply, linesReply } from './control-routes.ts';
import type { EventKind } from './obu.ts';
import { isFollowed, wholeNumber } from './query.ts';
import type { DaemonEvent } from './status.ts';

/** Events that are kept, and of one name: nobody can push out what happened to the others. */
const MAX_EVENTS = 1000;
const MAX_OF_ONE = 100;
/** Events that wait for somebody who follows and reads slowly. */
const MAX_WAITING = MAX_EVENTS + 200;

/** Recent events, in memory; empty after a start of the daemon. */
export class EventLog<Kind extends string = EventKind> {
  readonly #events: DaemonEvent<Kind>[] = [];
  readonly #listeners = new Set<(event: DaemonEvent<Kind>) => void>();
  #lastId = 0;

  add(kind: Kind, name: string, word: string, message: string): void {
    const time = new Date().toISOString();
    const before = this.#events.findLastIndex((one) => one.name === name);
    const last = this.#events[before];
    if (last?.kind === kind && last.word === word && last.message === message) {
      this.#events[before] = { ...last, repeats: last.repeats + 1 };
      return;
    }
    const event: DaemonEvent<Kind> = { id: ++this.#lastId, time, kind, name, word, message, repeats: 0 };
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

  /** The oldest first. @param name only of this workload, bus, tenant … */
  list(after = 0, name?: string): readonly DaemonEvent<Kind>[] {
    return this.#events.filter((one) => one.id > after && (name === undefined || one.name === name));
  }

  /** The kept events and then new ones, until `signal` fires. A slow reader misses the oldest. */
  async *follow(after: number, name: string | undefined, signal: AbortSignal): AsyncGenerator<DaemonEvent<Kind>> {
    const subscribe = (push: (events: readonly DaemonEvent<Kind>[]) => void) => {
      const listener = (event: DaemonEvent<Kind>) => {
        if (name === undefined || event.name === name) push([event]);
      };
      this.#listeners.add(listener);
      return () => this.#listeners.delete(listener);
    };
    yield* newestItems({ subscribe, mostWaiting: MAX_WAITING, first: this.list(after, name) }, signal);
  }
}

/** The answer to `GET /v1/events`. */
export function eventsRoute(events: Pick<EventLog<string>, 'list' | 'follow'>): ControlRoute {
  return ({ query, signal }) => {
    const [after, name] = [wholeNumber(query, 'after', 0), query.get('name') ?? undefined];
    if (isFollowed(query)) return linesReply(events.follow(after, name, signal));
    return jsonReply(events.list(after, name));
  };
}
