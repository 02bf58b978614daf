import { readFileSync } from 'node:fs';
import type { Readable } from 'node:stream';
import type { GetEventsOptions } from 'dockerode';
import { messageOf } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import { pause } from '../../shared/base/pause.ts';
import { Label } from '../workloads/container-spec.ts';
import type { Engine } from './docker-client.ts';

const RECONNECT_MS = 1000;
/** An event is a few hundred bytes, and as long as the labels of an image. */
const MAX_EVENT_BYTES = 1 << 20;
/** The pid file of the system's engine. */
const PID_FILE = '/var/run/docker.pid';

const filters = {
  type: ['container', 'image'],
  event: [
    ...['die', 'oom', 'destroy', 'pause', 'unpause', 'start', 'health_status'],
    ...['tag', 'untag', 'load', 'import', 'delete', 'pull'],
  ],
};

export interface WatchParts {
  readonly engine: Engine;
  /** Owner label of this OBU. */
  readonly owner: string;
  /** Something has happened to this container of ours. */
  readonly onContainer: (id: string) => void;
  /** An image came, went or got another name. */
  readonly onImage: () => void;
  /** Events may have been lost: the stream was opened. */
  readonly onGap: () => void;
  /** The engine ended, and what ran on it with it. */
  readonly onEngineEnd: () => void;
  readonly log: Logger;
}

/** The fields that are read of an event of the engine. */
interface EngineEvent {
  readonly Type?: string;
  readonly Actor?: { readonly ID?: string; readonly Attributes?: Readonly<Record<string, string>> };
}

/**
 * Tells which container something has happened to: it ended, ran out of memory, was paused, fell ill; or that an image
 * came or went. It does not say what: whoever is told looks at the engine itself, so no event has to be believed and
 * none that is lost is missed for long. And it tells that the engine itself has ended.
 */
export class EngineWatch {
  readonly #parts: WatchParts;
  readonly #abort = new AbortController();
  #stream: Readable | undefined;
  #loop: Promise<void> | undefined;
  /** Of the engine whose events were read last. */
  #engineId: string | undefined;

  constructor(parts: WatchParts) {
    this.#parts = parts;
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
    const { log, onEngineEnd } = this.#parts;
    const { signal } = this.#abort;
    let hadStream = false;
    while (!signal.aborted) {
      const begunMs = performance.now();
      try {
        await this.#follow(() => {
          hadStream = true;
        });
        log.debug('the event stream of the Docker Engine ended; opening it again');
        // At once, as an engine that lives takes us back; but not again and again.
        if (performance.now() - begunMs < RECONNECT_MS) await pause(RECONNECT_MS, signal);
      } catch (error) {
        if (signal.aborted) return;
        if (hadStream && isRefusal(error)) {
          hadStream = false;
          onEngineEnd();
        }
        log.debug({ err: messageOf(error) }, 'no events from the Docker Engine; trying again');
        await pause(RECONNECT_MS, signal);
      }
    }
  }

  /** @param onOpen called when the engine has answered */
  async #follow(onOpen: () => void): Promise<void> {
    const { engine, onGap, onEngineEnd } = this.#parts;
    // dockerode passes the signal on; its types don't say so.
    const options = { filters, abortSignal: this.#abort.signal } as GetEventsOptions;
    const stream = (await engine.streams.getEvents(options)) as unknown as Readable;
    this.#stream = stream;
    onOpen();
    const engineId = idOf(engine);
    if (this.#engineId !== undefined && engineId !== this.#engineId) onEngineEnd();
    this.#engineId = engineId;
    // Reports changes that happened while the event stream was closed.
    onGap();
    try {
      for await (const event of eventsIn(stream)) this.#tell(event);
    } finally {
      stream.destroy();
      this.#stream = undefined;
    }
  }

  #tell({ Type, Actor }: EngineEvent): void {
    const { owner, onContainer, onImage } = this.#parts;
    if (Type === 'image') onImage();
    if (Type !== 'container' || Actor?.ID === undefined) return;
    // With the labels of the container.
    if (Actor.Attributes?.[Label.owner] === owner) onContainer(Actor.ID);
  }
}

/** The JSON values of a stream, one a line. @throws Error for a line that is too long; errors of the stream */
export async function* eventsIn(stream: AsyncIterable<Buffer | string>): AsyncGenerator<EngineEvent> {
  let rest = '';
  for await (const chunk of stream) {
    const lines = (rest + chunk.toString()).split('\n');
    rest = lines.pop()!;
    if (rest.length > MAX_EVENT_BYTES) throw new Error('an event of the Docker Engine is too long');
    for (const line of lines) {
      if (line.trim() !== '') yield JSON.parse(line) as EngineEvent;
    }
  }
}

/** Nobody is there, as opposed to one who is slow or breaks off. */
function isRefusal(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'ECONNREFUSED' || code === 'ENOENT';
}

/** Another one says that there is another engine at the same socket: systemd keeps that open in between. */
function idOf({ kind, host }: Engine): string | undefined {
  if (kind === 'private' || !host.startsWith('unix://')) return undefined;
  try {
    return readFileSync(PID_FILE, 'utf8').trim();
  } catch {
    return undefined; // it writes it elsewhere
  }
}
