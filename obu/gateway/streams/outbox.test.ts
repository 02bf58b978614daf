import { beforeEach, describe, expect, it } from 'vitest';
import { LogLimit } from '../log-limit.ts';
import { DropOldestQueue } from './drop-oldest-queue.ts';
import { HIGH_WATER, MAX_WAITING_ANSWERS, Outbox, type Stream } from './outbox.ts';

class HandSink {
  readonly written: string[] = [];
  pending = 0;
  write(bytes: Uint8Array) {
    this.written.push(Buffer.from(bytes).toString());
    this.pending += bytes.length;
  }
  cork() {}
  uncork() {}
}

/** A stream with so many messages of this size. */
function stream(name: string, count: number, size = name.length): Stream {
  let left = count;
  return { take: () => (left-- > 0 ? [Buffer.alloc(size, name)] : undefined) };
}

const tick = () => new Promise((resolve) => setImmediate(resolve));
const answer = (text: string) => [Buffer.from(text)];

let sink: HandSink;
let crowded: boolean[];
let outbox: Outbox;
beforeEach(() => {
  sink = new HandSink();
  crowded = [];
  outbox = new Outbox(sink, (now) => crowded.push(now));
});

describe('an outbox', () => {
  it('sends answers first and lets streams take turns', async () => {
    outbox.wake(stream('a', 3));
    outbox.wake(stream('b', 2));
    outbox.answer(answer('answer'));
    expect(sink.written).toEqual([]);
    await tick();
    expect(sink.written).toEqual(['answer', 'a', 'b', 'a', 'b', 'a']);
  });

  it('hands nothing more to a socket that is full, and goes on when it has drained', async () => {
    outbox.wake(stream('a', 10, HIGH_WATER / 2));
    await tick();
    expect(sink.written).toHaveLength(2);
    sink.pending = 0;
    outbox.drained();
    expect(sink.written).toHaveLength(4);
  });

  it('says when an answer has left', async () => {
    let sent = 0;
    outbox.answer(answer('x'), () => sent++);
    expect(sent).toBe(0);
    await tick();
    expect(sent).toBe(1);
  });

  it('asks for no more requests while answers wait, and for more when they have left', async () => {
    sink.pending = HIGH_WATER;
    for (let i = 0; i < MAX_WAITING_ANSWERS; i++) outbox.answer(answer('x'));
    expect(crowded).toEqual([true]);
    sink.pending = 0;
    await tick();
    expect(crowded).toEqual([true, false]);
  });

  it('forgets a stream that was ended', async () => {
    const gone = stream('a', 1);
    outbox.wake(gone);
    outbox.forget(gone);
    await tick();
    expect(sink.written).toEqual([]);
  });

  it('writes the answers that wait when it is closed, and nothing after', async () => {
    sink.pending = HIGH_WATER;
    outbox.answer(answer('why'));
    outbox.wake(stream('a', 1));
    outbox.close();
    outbox.answer(answer('late'));
    await tick();
    expect(sink.written).toEqual(['why']);
  });
});

describe('a queue that drops its oldest', () => {
  it('keeps order, and counts what it lost', () => {
    const queue = new DropOldestQueue<number>(3);
    const lost = [1, 2, 3, 4, 5].map((n) => queue.push(n));
    expect(lost).toEqual([false, false, false, true, true]);
    expect([queue.shift(), queue.shift(), queue.shift(), queue.shift()]).toEqual([3, 4, 5, undefined]);
    expect([queue.size, queue.dropped]).toEqual([0, 2]);
    queue.push(6);
    expect(queue.shift()).toBe(6);
  });
});

describe('the share of the log', () => {
  it('ends, and begins again with the count of what was left out', () => {
    const skipped: number[] = [];
    const limit = new LogLimit((count) => skipped.push(count));
    const written = Array.from({ length: 50 }, () => limit.take(0)).filter(Boolean).length;
    expect(written).toBe(20);
    expect(limit.take(9_999)).toBe(false);
    expect(limit.take(10_000)).toBe(true);
    expect(skipped).toEqual([31]);
  });
});
