import type { Readable } from 'node:stream';
import type { LogLine } from '../../shared/api/obu.ts';
import { messageOf } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import { type Engine, withTimeout } from '../engine/docker-client.ts';
import { LogLines } from './container-logs.ts';

/** Characters of a line that are kept, and lines of one workload. */
const MAX_LINE = 400;
const MAX_LINES = 10;
/** How long the engine may take to give the last lines of a container that is to be removed. */
const READ_MS = 2000;

/** Follows what the workloads print and keeps the last lines of each, for people to look at; also when it has ended. */
export class LastLines {
  readonly #engine: Engine;
  readonly #log: Logger;
  readonly #lines = new Map<string, LogLine[]>();
  /** By container. */
  readonly #following = new Map<string, AbortController>();

  constructor(engine: Engine, log: Logger) {
    this.#engine = engine;
    this.#log = log;
  }

  /** Empty before the first line. */
  of(workload: string): string {
    return this.recent(workload).at(-1)?.text ?? '';
  }

  /** The oldest first. */
  recent(workload: string): readonly LogLine[] {
    return this.#lines.get(workload) ?? [];
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
        this.#log.debug({ workload, err: messageOf(error) }, 'cannot follow the output of a container');
      });
    }
  }

  /** Reads what a container that is about to go has printed last: it may have ended before anybody followed it. */
  async readLast(workload: string, id: string): Promise<void> {
    const options = { stdout: true, stderr: true, timestamps: true, tail: MAX_LINES, follow: false } as const;
    try {
      const text = await withTimeout(this.#engine.calls.getContainer(id).logs(options), READ_MS);
      const lines = new LogLines(id.slice(0, 12));
      this.#keep(workload, [...lines.push(text), ...lines.end()]);
    } catch (error) {
      this.#log.debug({ workload, err: messageOf(error) }, 'cannot read the last output of a container');
    }
  }

  stop(): void {
    this.follow(new Map());
  }

  async #read(workload: string, id: string, signal: AbortSignal): Promise<void> {
    const options = {
      follow: true,
      stdout: true,
      stderr: true,
      timestamps: true,
      tail: MAX_LINES,
      abortSignal: signal,
    } as const;
    const stream = (await this.#engine.streams.getContainer(id).logs(options)) as unknown as Readable;
    stream.on('error', () => {}); // ended with its container, or by us
    // The engine ends it also when the log is rotated too quickly for it: followed again after the next look.
    stream.once('close', () => {
      if (this.#following.get(id)?.signal === signal) this.#following.delete(id);
    });
    signal.addEventListener('abort', () => stream.destroy(), { once: true });
    const lines = new LogLines(id.slice(0, 12));
    stream.on('data', (chunk: Buffer) => this.#keep(workload, [...lines.push(chunk)]));
    stream.on('end', () => this.#keep(workload, [...lines.end()]));
  }

  #keep(workload: string, lines: readonly LogLine[]): void {
    const before = this.recent(workload);
    // Lines that were read before a stream was cut off come again.
    const fresh = lines.filter(({ time, text }) => text.trim() !== '' && time > (before.at(-1)?.time ?? ''));
    if (fresh.length === 0) return;
    const kept = fresh.slice(-MAX_LINES).map((line) => ({ ...line, text: plain(line.text) }));
    this.#lines.set(workload, [...before, ...kept].slice(-MAX_LINES));
  }
}

/** Without what a terminal would act on. */
function plain(line: string): string {
  return line.replaceAll(/[\x00-\x1f\x7f]/g, '').slice(0, MAX_LINE);
}
