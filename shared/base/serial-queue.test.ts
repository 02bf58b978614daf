import { describe, expect, it } from 'vitest';
import { SerialQueue } from './serial-queue.ts';

describe('SerialQueue', () => {
  it('runs one task at a time, in the order of the calls, and gives each its result', async () => {
    const queue = new SerialQueue();
    const calls: string[] = [];
    const first = Promise.withResolvers<number>();
    const one = queue.run(() => {
      calls.push('one begins');
      return first.promise.finally(() => calls.push('one ends'));
    });
    const two = queue.run(async () => calls.push('two'));
    await new Promise(setImmediate);
    expect(calls).toEqual(['one begins']);
    expect(queue.size).toBe(2);
    first.resolve(7);
    expect(await one).toBe(7);
    expect(await two).toBe(3);
    expect(calls).toEqual(['one begins', 'one ends', 'two']);
    expect(queue.size).toBe(0);
  });

  it('goes on after a task that fails, and gives the error to its caller alone', async () => {
    const queue = new SerialQueue();
    const fault = new Error('fault');
    const bad = queue.run(() => Promise.reject(fault));
    const thrown = queue.run(() => {
      throw fault;
    });
    const good = queue.run(async () => 'good');
    await expect(bad).rejects.toBe(fault);
    await expect(thrown).rejects.toBe(fault);
    expect(await good).toBe('good');
    expect(queue.size).toBe(0);
  });

  it('is idle when the last task is done, whatever came of it', async () => {
    const queue = new SerialQueue();
    await queue.idle();
    const work = Promise.withResolvers<void>();
    const failing = queue.run(() => work.promise);
    let isIdle = false;
    const idle = queue.idle().then(() => {
      isIdle = true;
    });
    await new Promise(setImmediate);
    expect(isIdle).toBe(false);
    work.reject(new Error('fault'));
    await expect(failing).rejects.toThrow('fault');
    await idle;
  });
});
