/** The log of a workload, as the engine keeps it, across successive containers. */
import { Readable } from 'node:stream';
import type { LogLine } from '../../shared/api/obu.ts';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import { pause } from '../../shared/base/pause.ts';
import { type Engine, engineMessage, engineStatus } from '../engine/docker-client.ts';
import type { ObservedContainer } from '../planner/state.ts';

/** How often it is looked whether there is another container. */
const NEXT_MS = 200;
/** Bytes of one line that are kept; the rest of it is passed over. */
const MAX_LINE = 64 * 1024;
const HEADER = 8;

export interface LogsRequest {
  readonly engine: Engine;
  /** Containers of the workload, as they are now. */
  readonly containers: () => readonly ObservedContainer[];
  /** Lines of what was printed before; all when undefined. */
  readonly tail: number | undefined;
  /** Goes on with what comes, and with the containers that come, until `signal` fires. */
  readonly follow: boolean;
  readonly signal: AbortSignal;
}

/**
 * The lines of the newest container of a workload, and with `follow` of those after it. The lines of a container are
 * gone with it: what one before it printed cannot be read.
 * @throws KerbError EngineUnavailable
 */
export async function* readLogs(request: LogsRequest): AsyncGenerator<LogLine> {
  const { containers, follow, signal } = request;
  const done = new Set<string>();
  /** How far the one that is being read has been read. */
  let place = { id: '', time: '' };
  let { tail } = request;
  while (!signal.aborted) {
    // While one hands over to another both run; the newer one is told of.
    const next = containers()
      .filter(({ id, startedAtMs }) => !done.has(id) && startedAtMs > 0)
      .sort((a, b) => b.startedAtMs - a.startedAtMs)[0];
    if (next !== undefined) {
      // An engine that was restarted has cut the stream off; what has been told is not told again.
      const since = place.id === next.id ? place.time : '';
      place = { id: next.id, time: since };
      for await (const line of linesOf(request, next.id, tail, since)) {
        if (line.time <= since) continue;
        place.time = line.time;
        yield line;
      }
      // The container after it is read from its beginning.
      tail = undefined;
      const runs = containers().some(({ id, state }) => id === next.id && (state === 'running' || state === 'paused'));
      if (!runs) for (const { id, startedAtMs } of containers()) if (startedAtMs <= next.startedAtMs) done.add(id);
      if (!runs) done.add(next.id);
    }
    if (!follow) return;
    await pause(NEXT_MS, signal);
  }
}

async function* linesOf(
  { engine, follow, signal }: LogsRequest,
  id: string,
  tail: number | undefined,
  since: string,
): AsyncGenerator<LogLine> {
  const container = engine.streams.getContainer(id);
  const options = {
    stdout: true,
    stderr: true,
    timestamps: true,
    abortSignal: signal,
    ...(since === '' ? tail !== undefined && { tail } : { since: engineTime(since) }),
  };
  const lines = new LogLines(id.slice(0, 12));
  try {
    const stream = follow
      ? ((await container.logs({ ...options, follow })) as unknown as Readable)
      : Readable.from([(await container.logs({ ...options, follow })) as Buffer]);
    const onAbort = () => stream.destroy();
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      for await (const chunk of stream as AsyncIterable<Buffer>) yield* lines.push(chunk);
      yield* lines.end();
    } finally {
      signal.removeEventListener('abort', onAbort);
      stream.destroy();
    }
  } catch (error) {
    // It has gone since it was seen; or the reader has; or an engine that comes back is asked again.
    if (signal.aborted || follow || engineStatus(error) === 404 || engineStatus(error) === 409) return;
    throw new KerbError(
      ErrorCode.EngineUnavailable,
      `the Docker Engine does not give the log: ${engineMessage(error)}`,
    );
  }
}

/** Seconds since 1970 with nine decimals, which is how the engine is asked. */
function engineTime(time: string): string {
  const nanoseconds = /\.(\d{1,9})/.exec(time)?.[1] ?? '0';
  return `${Math.floor(Date.parse(time) / 1000)}.${nanoseconds.padEnd(9, '0')}`;
}

/**
 * Cuts the engine's frames (a header of 8 bytes with stream and length, then text that begins with its time) into
 * lines.
 */
export class LogLines {
  readonly #container: string;
  /** Unfinished lines by stream. */
  readonly #unfinished = new Map<LogLine['stream'], { time: string; text: string }>();
  #rest: Buffer = Buffer.alloc(0);

  constructor(container: string) {
    this.#container = container;
  }

  *push(chunk: Buffer): Generator<LogLine> {
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    for (;;) {
      if (this.#rest.length < HEADER) return;
      const end = HEADER + this.#rest.readUInt32BE(4);
      if (this.#rest.length < end) return;
      const stream = this.#rest[0] === 2 ? 'stderr' : 'stdout';
      const text = this.#rest.toString('utf8', HEADER, end);
      this.#rest = this.#rest.subarray(end);
      yield* this.#take(stream, text);
    }
  }

  /** The last output without an end of line. */
  *end(): Generator<LogLine> {
    for (const [stream, line] of this.#unfinished) yield { ...line, stream, container: this.#container };
    this.#unfinished.clear();
  }

  *#take(stream: LogLine['stream'], frame: string): Generator<LogLine> {
    const space = frame.indexOf(' ');
    const time = frame.slice(0, space);
    // The engine's own words (that it lost its place in a log that rotates quickly) have no time, and are no line of
    // it.
    if (!/^\d{4}-\d\d-\d\dT/.test(time)) return;
    const before = this.#unfinished.get(stream);
    const text = (before?.text ?? '') + frame.slice(space + 1);
    const line = { time: before?.time ?? time, text: text.replace(/\r?\n$/, '').slice(0, MAX_LINE) };
    // The engine cuts long lines into several frames.
    if (text.endsWith('\n')) {
      this.#unfinished.delete(stream);
      yield { ...line, stream, container: this.#container };
    } else this.#unfinished.set(stream, line);
  }
}
