import { describe, expect, it } from 'vitest';
import { ErrorCode } from './errors.ts';
import { createLog, silentLog } from './log.ts';
import { RunningParts } from './running-parts.ts';

/** Parts that write down what happens to them, in order. */
function scene() {
  const calls: string[] = [];
  const part = (name: string, faults: { start?: Error; stop?: Error } = {}) => ({
    start() {
      calls.push(`start ${name}`);
      if (faults.start) throw faults.start;
      return name;
    },
    async stop() {
      calls.push(`stop ${name}`);
      if (faults.stop) throw faults.stop;
    },
  });
  return { calls, part };
}

describe('RunningParts', () => {
  it('starts in order, gives what the starts give, and stops in reverse, once', async () => {
    const { calls, part } = scene();
    const parts = new RunningParts(silentLog());
    const given = await parts.startAll(async () => [
      await parts.begin('a', part('a')),
      await parts.begin('b', { stop: () => calls.push('stop b') }),
      await parts.begin('c', part('c')),
    ]);
    expect(given).toEqual(['a', undefined, 'c']);
    expect(calls).toEqual(['start a', 'start c']);
    await Promise.all([parts.stop(), parts.stop()]);
    await parts.stop();
    expect(calls).toEqual(['start a', 'start c', 'stop c', 'stop b', 'stop a']);
  });

  it('calls start and stop as methods, so that a class is a part', async () => {
    class Counter {
      count = 0;
      start() {
        this.count += 1;
      }
      stop() {
        this.count -= 1;
      }
    }
    const counter = new Counter();
    const parts = new RunningParts(silentLog());
    await parts.begin('counter', counter);
    expect(counter.count).toBe(1);
    await parts.stop();
    expect(counter.count).toBe(0);
  });

  it('stops everything in reverse after a start that fails, and throws that error whatever stopping throws', async () => {
    const { calls, part } = scene();
    const lines: string[] = [];
    const parts = new RunningParts(createLog('test', { write: (line) => void lines.push(line) }));
    const first = new Error('b does not start');
    const start = parts.startAll(async () => {
      await parts.begin('a', part('a'));
      await parts.begin('b', part('b', { start: first, stop: new Error('b does not stop') }));
      await parts.begin('c', part('c'));
    });
    await expect(start).rejects.toBe(first);
    expect(calls).toEqual(['start a', 'start b', 'stop b', 'stop a']);
    expect(lines.map((line) => JSON.parse(line))).toMatchObject([
      { level: 'error', part: 'b', err: { message: 'b does not stop' } },
    ]);
  });

  it('stops everything when what fails is between the parts', async () => {
    const { calls, part } = scene();
    const parts = new RunningParts(silentLog());
    const start = parts.startAll(async () => {
      await parts.begin('a', part('a'));
      throw new Error('between');
    });
    await expect(start).rejects.toThrow('between');
    expect(calls).toEqual(['start a', 'stop a']);
  });

  it('stops in the middle of a start, and again what that start made afterwards', async () => {
    const { calls, part } = scene();
    const parts = new RunningParts(silentLog());
    const abort = new AbortController();
    const begun = Promise.withResolvers<void>();
    const slow = Promise.withResolvers<void>();
    const startSlow = () => {
      begun.resolve();
      return slow.promise;
    };
    const start = parts.startAll(async () => {
      await parts.begin('a', part('a'));
      await parts.begin('slow', { start: startSlow, stop: () => calls.push('stop slow') });
      await parts.begin('c', part('c'));
    }, abort.signal);
    await begun.promise;
    abort.abort();
    await parts.stop();
    expect(calls).toEqual(['start a', 'stop slow', 'stop a']);
    slow.resolve();
    await expect(start).rejects.toMatchObject({ code: ErrorCode.Cancelled });
    expect(calls).toEqual(['start a', 'stop slow', 'stop a', 'stop slow']);
  });

  it('starts nothing under a signal that is aborted already', async () => {
    const { calls, part } = scene();
    const parts = new RunningParts(silentLog());
    const start = parts.startAll(() => parts.begin('a', part('a')), AbortSignal.abort());
    await expect(start).rejects.toMatchObject({ code: ErrorCode.Cancelled });
    expect(calls).toEqual([]);
  });

  it('starts nothing after it was stopped, and stops what runs already', async () => {
    const { calls, part } = scene();
    const parts = new RunningParts(silentLog());
    await parts.stop();
    await expect(parts.begin('a', part('a'))).rejects.toMatchObject({ code: ErrorCode.Cancelled });
    const running = { stop: () => calls.push('stop b') };
    await expect(parts.begin('b', running)).rejects.toMatchObject({ code: ErrorCode.Cancelled });
    expect(calls).toEqual(['stop b']);
  });

  it('fails a start that was stopped after its last part', async () => {
    const { calls, part } = scene();
    const parts = new RunningParts(silentLog());
    const start = parts.startAll(async () => {
      await parts.begin('a', part('a'));
      await parts.stop();
    });
    await expect(start).rejects.toMatchObject({ code: ErrorCode.Cancelled });
    expect(calls).toEqual(['start a', 'stop a']);
  });
});
