import { PassThrough, type Readable } from 'node:stream';
import { messageOf } from '../../shared/errors.ts';
import type { Logger } from '../../shared/log.ts';
import type { Engine } from './docker-client.ts';

/** Characters of a line that are kept. */
const MAX_LINE = 400;

/** Follows what the workloads print and keeps the last line of each, for people to look at. */
export class LastLines {
  readonly #engine: Engine;
  readonly #log: Logger;
  readonly #lines = new Map<string, string>();
  /** By container. */
  readonly #following = new Map<string, AbortController>();

  constructor(engine: Engine, log: Logger) {
    this.#engine = engine;
    this.#log = log;
  }

  /** Empty before the first line. */
  of(workload: string): string {
    return this.#lines.get(workload) ?? '';
  }

  /** Follows the containers that run now, and no others. */
  follow(running: ReadonlyMap<string, string>): void {
    const ids = new Set(running.values());
    for (const [id, abort] of this.#following) {
      if (ids.has(id)) continue;
      abort.abort();
      this.#following.delete(id);
    }
    for (const [workload, id] of running) {
      if (this.#following.has(id)) continue;
      const abort = new AbortController();
      this.#following.set(id, abort);
      void this.#read(workload, id, abort.signal).catch((error: unknown) => {
        this.#following.delete(id); // followed again after the next look at the engine
        this.#log.debug({ workload }, `what it prints cannot be read: ${messageOf(error)}`);
      });
    }
  }

  stop(): void {
    this.follow(new Map());
  }

  async #read(workload: string, id: string, signal: AbortSignal): Promise<void> {
    const stream = (await this.#engine.streams
      .getContainer(id)
      .logs({ follow: true, stdout: true, stderr: true, tail: 1, abortSignal: signal })) as unknown as Readable;
    stream.on('error', () => {}); // ended with its container, or by us
    // The engine ends it also when the log is rotated too quickly for it: followed again after the next look.
    stream.once('close', () => {
      if (this.#following.get(id)?.signal === signal) this.#following.delete(id);
    });
    signal.addEventListener('abort', () => stream.destroy(), { once: true });
    const text = new PassThrough();
    this.#engine.streams.modem.demuxStream(stream, text, text);
    let rest = '';
    text.setEncoding('utf8').on('data', (chunk: string) => {
      const lines = (rest + chunk).split('\n');
      // A line without end must not eat the memory.
      rest = lines.pop()!.slice(-MAX_LINE);
      const line = lines.findLast((one) => one.trim() !== '');
      if (line !== undefined) this.#lines.set(workload, line.replaceAll(/[\x00-\x1f\x7f]/g, '').slice(0, MAX_LINE));
    });
  }
}
