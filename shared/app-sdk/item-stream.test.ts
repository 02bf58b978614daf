import { describe, expect, it } from 'vitest';
import { ErrorCode, KerbError } from '../base/errors.ts';
import { QueuedStream } from './item-stream.ts';

function make(capacity = 50) {
  const ends: number[] = [];
  return {
    stream: new QueuedStream<number>(
      capacity,
      (n) => n,
      () => ends.push(1),
    ),
    ends,
  };
}

async function all(stream: AsyncIterable<number>): Promise<number[]> {
  const items: number[] = [];
  for await (const item of stream) items.push(item);
  return items;
}

describe('a stream', () => {
  it('loses its oldest items when the loop is slow, and counts what they weigh', async () => {
    const { stream } = make();
    for (const n of [10, 20, 30]) stream.push(n, 0);
    stream.finish();
    expect(await all(stream)).toEqual([20, 30]);
    expect(stream.dropped).toBe(10);
  });

  it('keeps any number of small items, and one that is larger than it may keep', async () => {
    const { stream } = make(100);
    for (let n = 0; n < 100; n++) stream.push(1, 0);
    expect(stream.dropped).toBe(0);
    stream.push(1000, 0);
    stream.finish();
    expect(await all(stream)).toEqual([1000]);
    expect(stream.dropped).toBe(100);
  });

  it('adds what the OBU lost, across connections', () => {
    const { stream } = make(2);
    stream.push(1, 5);
    stream.push(1, 7);
    stream.reopened();
    stream.push(1, 2);
    expect(stream.dropped).toBe(7 + 2 + 1);
  });

  it('throws an error after what has come already, and again when asked again', async () => {
    const { stream, ends } = make();
    stream.push(1, 0);
    stream.finish(new KerbError(ErrorCode.NotGranted, 'no'));
    const iterator = stream[Symbol.asyncIterator]();
    expect(await iterator.next()).toEqual({ value: 1, done: false });
    await expect(iterator.next()).rejects.toMatchObject({ code: ErrorCode.NotGranted });
    await expect(iterator.next()).rejects.toMatchObject({ code: ErrorCode.NotGranted });
    expect(ends).toEqual([]);
  });

  it('wakes a loop that waits, for an item and for the end', async () => {
    const { stream, ends } = make();
    const items = all(stream);
    await Promise.resolve();
    stream.push(4, 0);
    await Promise.resolve();
    stream.close();
    stream.close();
    stream.push(5, 0);
    expect(await items).toEqual([4]);
    expect(ends).toEqual([1]);
  });
});
