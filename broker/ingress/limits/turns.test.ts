import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { type Source, Turn, Turns } from './turns.ts';

/** A message takes as long as it says on a clock that stands still otherwise. */
interface Message {
  readonly source: Source;
  readonly arrivedAt: number;
  readonly text: string;
  readonly takesMs: number;
}

let now = 1000;
beforeEach(() => {
  vi.spyOn(performance, 'now').mockImplementation(() => now);
});
afterEach(() => vi.restoreAllMocks());

class Vehicle implements Source {
  readonly turn = new Turn<Message>();
  readonly name: string;
  isReading = true;
  limit = '';
  isSlow = false;
  #count = 0;
  constructor(name: string) {
    this.name = name;
  }
  pause() {
    this.isReading = false;
  }
  resume() {
    this.isReading = true;
  }
  message(takesMs: number): Message {
    return { source: this, arrivedAt: now, text: `${this.name}${this.#count++}`, takesMs };
  }
}

function setUp() {
  const handled: string[] = [];
  const turns = new Turns<Vehicle, Message>({
    turnOf: ({ turn }) => turn,
    hindrance: ({ limit }) => limit,
    mayRead: ({ isSlow }) => !isSlow,
    handle: (_vehicle, { text, takesMs }, quota) => {
      handled.push(quota === '' ? text : `${text} over ${quota}`);
      now += takesMs;
    },
  });
  return { turns, handled };
}

test('what is within the share is handled as it comes, and nothing is stopped', () => {
  const { turns, handled } = setUp();
  const calm = new Vehicle('c');
  for (let n = 0; n < 100; n++) {
    turns.take(calm, calm.message(0.4));
    now += 1;
  }
  expect(handled).toHaveLength(100);
  expect(calm.isReading).toBe(true);
});

test('one that floods is not read from, and what it sent takes one turn between two looks at the network', async () => {
  const { turns, handled } = setUp();
  const [flood, calm] = [new Vehicle('f'), new Vehicle('c')];
  for (let n = 0; n < 20; n++) turns.take(flood, flood.message(0.5));
  expect(handled).toEqual(['f0', 'f1']);
  expect(flood.isReading).toBe(false);
  for (let round = 1; round <= 9; round++) {
    turns.take(calm, calm.message(0.1));
    // Its own comes at once, whatever waits.
    expect(handled.at(-1)).toBe(`c${round - 1}`);
    const before = handled.length;
    await nextTurn();
    expect(handled.length - before).toBeLessThanOrEqual(2);
    expect(handled.slice(before).every((text) => text.startsWith('f'))).toBe(true);
  }
  await vi.waitUntil(() => flood.isReading);
  expect(handled.filter((text) => text.startsWith('f'))).toEqual(Array.from({ length: 20 }, (_, n) => `f${n}`));
});

test('those that flood take turns', async () => {
  const { turns, handled } = setUp();
  const [a, b] = [new Vehicle('a'), new Vehicle('b')];
  for (let n = 0; n < 6; n++) turns.take(a, a.message(1));
  for (let n = 0; n < 6; n++) turns.take(b, b.message(1));
  await vi.waitUntil(() => handled.length === 12);
  expect(handled.map(([name]) => name).join('')).toBe('ababababababab'.slice(0, 12));
});

test('bytes without an end are read a turn at a time', async () => {
  const { turns } = setUp();
  const large = new Vehicle('l');
  for (let chunk = 0; chunk < 16; chunk++) turns.read(large, large, 16_384);
  expect(large.isReading).toBe(true);
  turns.read(large, large, 16_384);
  expect(large.isReading).toBe(false);
  await vi.waitUntil(() => large.isReading);
});

test('a message that took long to put together is followed by a rest, one that did not is not', async () => {
  const { turns, handled } = setUp();
  const [large, calm] = [new Vehicle('l'), new Vehicle('c')];
  turns.take(large, large.message(0));
  turns.assembled(large, large, 0.06);
  expect(large.isReading).toBe(true);
  turns.assembled(large, large, 4);
  expect(large.isReading).toBe(false);
  turns.take(large, large.message(0));
  now += 2;
  await new Promise((resolve) => setTimeout(resolve, 20));
  turns.take(calm, calm.message(0));
  expect(handled).toEqual(['l0', 'c0']);
  now += 1;
  await vi.waitUntil(() => large.isReading);
  expect(handled).toEqual(['l0', 'c0', 'l1']);
});

test('what is put off is done a turn at a time, with a rest after what took long, and at once at the end', async () => {
  const { turns, handled } = setUp();
  const [large, calm] = [new Vehicle('l'), new Vehicle('c')];
  for (let n = 0; n < 4; n++) {
    turns.later(large, () => {
      handled.push(`answer${n}`);
      now += 10;
    });
  }
  expect(handled).toEqual([]);
  await vi.waitUntil(() => handled.length === 1);
  await new Promise((resolve) => setTimeout(resolve, 20));
  // Its rest is not over.
  turns.take(calm, calm.message(0));
  expect(handled).toEqual(['answer0', 'c0']);
  now += 9;
  await vi.waitUntil(() => handled.length === 3);
  turns.flush();
  expect(handled).toEqual(['answer0', 'c0', 'answer1', 'answer2', 'answer3']);
  turns.stop();
});

test('what is over a limit waits, and is told which when that was too long', async () => {
  const { turns, handled } = setUp();
  const over = new Vehicle('o');
  over.limit = 'bytes';
  turns.take(over, over.message(0));
  turns.take(over, over.message(0));
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(handled).toEqual([]);
  now += 1001;
  await vi.waitUntil(() => handled.length === 2 && over.isReading);
  expect(handled).toEqual(['o0 over bytes', 'o1 over bytes']);
  over.limit = '';
  turns.take(over, over.message(0));
  expect(handled.at(-1)).toBe('o2');
});

test('one that does not read its answers is read from again when it does', async () => {
  const { turns, handled } = setUp();
  const slow = new Vehicle('s');
  slow.isSlow = true;
  turns.take(slow, slow.message(0));
  expect(handled).toEqual(['s0']);
  expect(slow.isReading).toBe(false);
  slow.isSlow = false;
  await vi.waitUntil(() => slow.isReading);
});

test('of a connection that is gone nothing is handled any more', async () => {
  const { turns, handled } = setUp();
  const gone = new Vehicle('g');
  for (let n = 0; n < 10; n++) turns.take(gone, gone.message(1));
  turns.forget(gone, gone);
  await nextTurn();
  await nextTurn();
  expect(handled).toEqual(['g0']);
});
