import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { ErrorCode } from '../../shared/base/errors.ts';
import type { Engine } from '../engine/docker-client.ts';
import type { ObservedContainer } from '../planner/state.ts';
import { LogLines, type LogsRequest, readLogs } from './container-logs.ts';

const T = (second: number) => `2026-01-01T00:00:0${second}.000000001Z`;

/** One frame of the engine. */
function frame(second: number, text: string, stream: 1 | 2 = 1): Buffer {
  const body = Buffer.from(`${T(second)} ${text}`);
  const header = Buffer.from([stream, 0, 0, 0, 0, 0, 0, 0]);
  header.writeUInt32BE(body.length, 4);
  return Buffer.concat([header, body]);
}

function cut(bytes: Buffer, size: number): { stream: string; text: string }[] {
  const lines = new LogLines('c');
  const found = [];
  for (let at = 0; at < bytes.length; at += size) found.push(...lines.push(bytes.subarray(at, at + size)));
  return [...found, ...lines.end()].map(({ stream, text }) => ({ stream, text }));
}

it.each([1, 7, 10_000])('frames are cut into lines, in pieces of %i bytes', (size) => {
  const long = 'x'.repeat(5000);
  const bytes = Buffer.concat([
    frame(1, 'one\n'),
    frame(1, 'first half, '),
    frame(2, 'oops\r\n', 2),
    frame(3, 'second half ü\n'),
    frame(4, `${long}\n`),
    frame(5, 'without end'),
  ]);
  expect(cut(bytes, size)).toEqual([
    { stream: 'stdout', text: 'one' },
    { stream: 'stderr', text: 'oops' },
    { stream: 'stdout', text: 'first half, second half ü' },
    { stream: 'stdout', text: long },
    { stream: 'stdout', text: 'without end' },
  ]);
});

it.each([2, 3])('what the engine itself says, in stream %i, is no line of the container', (stream) => {
  const words = Buffer.from('Error grabbing logs: unexpected EOF\n');
  const header = Buffer.from([stream, 0, 0, 0, 0, 0, 0, words.length]);
  const bytes = Buffer.concat([frame(1, 'one\n'), header, words, frame(2, 'two\n')]);
  expect(cut(bytes, 7).map(({ text }) => text)).toEqual(['one', 'two']);
});

it('a line without end does not grow for ever', () => {
  const lines = new LogLines('c');
  for (let i = 0; i < 100; i++) expect([...lines.push(frame(1, 'y'.repeat(16_000)))]).toEqual([]);
  expect([...lines.end()][0]!.text).toHaveLength(64 * 1024);
});

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}

/** An engine that has these logs, by container, and counts how it was asked. */
class LogEngine {
  readonly asked: unknown[] = [];
  readonly logs: Record<string, (options: { since?: string }) => Buffer[]> = {};
  containers: ObservedContainer[] = [];

  request(own: Partial<LogsRequest>): LogsRequest {
    const getContainer = (id: string) => ({
      logs: async (options: { follow: boolean; tail?: number; since?: string }) => {
        this.asked.push([id, options.tail, options.since]);
        const chunks = this.logs[id];
        if (chunks === undefined) throw Object.assign(new Error('gone'), { statusCode: 404 });
        return options.follow ? Readable.from(chunks(options)) : Buffer.concat(chunks(options));
      },
    });
    const engine = { streams: { getContainer } } as unknown as Engine;
    const signal = new AbortController().signal;
    return { engine, containers: () => this.containers, tail: undefined, follow: false, signal, ...own };
  }

  run(id: string, startedAtMs: number, state: ObservedContainer['state'] = 'running'): ObservedContainer {
    return { id, startedAtMs, state } as ObservedContainer;
  }
}

it('without follow, the newest container is read, and its end is the end', async () => {
  const engine = new LogEngine();
  engine.containers = [engine.run('old', 1, 'exited'), engine.run('new', 2, 'exited')];
  engine.logs.new = () => [frame(1, 'a\n'), frame(2, 'b\n', 2)];
  const lines = await all(readLogs(engine.request({ tail: 5 })));
  expect(lines).toEqual([
    { time: T(1), stream: 'stdout', text: 'a', container: 'new' },
    { time: T(2), stream: 'stderr', text: 'b', container: 'new' },
  ]);
  expect(engine.asked).toEqual([['new', 5, undefined]]);
});

it('a workload without a container has no lines', async () => {
  const engine = new LogEngine();
  expect(await all(readLogs(engine.request({})))).toEqual([]);
  engine.containers = [engine.run('gone', 1)];
  expect(await all(readLogs(engine.request({})))).toEqual([]);
});

it('an engine that fails is an error', async () => {
  const engine = new LogEngine();
  engine.containers = [engine.run('a', 1)];
  engine.logs.a = () => {
    throw new Error('on fire');
  };
  await expect(all(readLogs(engine.request({})))).rejects.toMatchObject({
    code: ErrorCode.EngineUnavailable,
    message: expect.stringContaining('on fire'),
  });
});

it('with follow, a stream that was cut off goes on where it was, and the next container is told of whole', async () => {
  const engine = new LogEngine();
  const stop = new AbortController();
  engine.containers = [engine.run('a', 1)];
  engine.logs.a = ({ since }) => {
    if (since === undefined) return [frame(1, 'one\n'), frame(2, 'two\n')];
    engine.containers = [engine.run('a', 1, 'exited')];
    return [frame(2, 'two\n'), frame(3, 'three\n')];
  };
  engine.logs.b = () => [frame(4, 'four\n')];
  const seen: string[] = [];
  for await (const { text } of readLogs(engine.request({ follow: true, tail: 2, signal: stop.signal }))) {
    seen.push(text);
    if (text === 'three') engine.containers = [engine.run('b', 5)];
    if (text === 'four') stop.abort();
  }
  expect(seen).toEqual(['one', 'two', 'three', 'four']);
  expect(engine.asked).toEqual([
    ['a', 2, undefined],
    ['a', undefined, '1767225602.000000001'],
    ['b', undefined, undefined],
  ]);
});

it('with follow, it ends when the reader goes, also while nothing runs', async () => {
  const engine = new LogEngine();
  const stop = new AbortController();
  const reading = all(readLogs(engine.request({ follow: true, signal: stop.signal })));
  await sleep(20);
  stop.abort();
  expect(await reading).toEqual([]);
});
