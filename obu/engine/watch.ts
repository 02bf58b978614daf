import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { GetEventsOptions } from 'dockerode';
import { messageOf } from '../../shared/errors.ts';
import type { Logger } from '../../shared/log.ts';
import type { Engine } from './docker-client.ts';

const RECONNECT_MS = 1000;

const filters = {
  type: ['container', 'image'],
  event: [
    ...['die', 'oom', 'destroy', 'pause', 'unpause', 'start', 'health_status'],
    ...['tag', 'untag', 'load', 'import', 'delete', 'pull'],
  ],
};

/**
 * Tells that something happened on the engine that may matter: a container ended, ran out of memory, was paused, fell
 * ill; an image came or went. It does not say what: whoever is told looks at the engine itself, so no event has to be believed
 * and none that is lost is missed for long.
 */
export class EngineWatch {
  readonly #engine: Engine;
  readonly #onEvent: () => void;
  readonly #log: Logger;
  readonly #abort = new AbortController();
  #stream: Readable | undefined;
  #loop: Promise<void> | undefined;

  constructor(engine: Engine, onEvent: () => void, log: Logger) {
    this.#engine = engine;
    this.#onEvent = onEvent;
    this.#log = log;
  }

  start(): void {
    this.#loop ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    this.#stream?.destroy();
    await this.#loop;
  }

  async #run(): Promise<void> {
    const { signal } = this.#abort;
    while (!signal.aborted) {
      try {
        await this.#follow();
        this.#log.debug('the event stream of the Docker Engine ended; opening it again');
      } catch (error) {
        this.#log.debug(`no events from the Docker Engine: ${messageOf(error)}; trying again`);
      }
      await sleep(RECONNECT_MS, undefined, { signal }).catch(() => {}); // stopped: the loop ends
    }
  }

  async #follow(): Promise<void> {
    // dockerode passes the signal on; its types don't say so.
    const options = { filters, abortSignal: this.#abort.signal } as GetEventsOptions;
    const stream = (await this.#engine.streams.getEvents(options)) as unknown as Readable;
    this.#stream = stream;
    // What happened while nobody listened.
    this.#onEvent();
    try {
      for await (const _chunk of stream) this.#onEvent();
    } finally {
      stream.destroy();
      this.#stream = undefined;
    }
  }
}
