import type { EventLog } from '../../shared/api/event-log.ts';
import type { EventKind } from '../../shared/api/obu.ts';
import type { ObuStatus } from '../../shared/api/status.ts';

/** Makes events of what the parts of an OBU only show as their state: looks at it every now and then. */
export class ChangeWatch {
  readonly #events: EventLog;
  readonly #known = new Map<string, string>();

  constructor(events: EventLog) {
    this.#events = events;
  }

  /** To be called once a second. */
  look({ obu, engine, cameras, places }: ObuStatus): void {
    this.#see('engine', obu, engine.fault === '' ? 'Answering' : 'Faulty', engine.fault || `Docker ${engine.version}`);
    for (const { name, state, reason, recording } of cameras) {
      this.#see('camera', name, state, reason);
      if (recording !== undefined) this.#see('camera', `recording of ${name}`, recording.state, recording.reason);
    }
    for (const { place, connected, reason } of places) {
      this.#see('place', place, connected ? 'Connected' : 'Lost', reason);
    }
  }

  #see(kind: EventKind, name: string, word: string, reason: string): void {
    const key = `${kind} ${name}`;
    if (this.#known.get(key) === word) return;
    this.#known.set(key, word);
    this.#events.add(kind, name, word, reason);
  }
}
