import { describe, expect, test, vi } from 'vitest';
import { Once, type OnceOptions } from './once.ts';

const A = 'sha256:a';
const input = Buffer.from('picture');
const options: OnceOptions = { maxBytes: 1000, maxCount: 100, maxAgeMs: 60_000, inputs: 'digest' };
const start = performance.now();

function scene(change: Partial<OnceOptions> = {}) {
  const once = new Once<object, string>({ ...options, ...change });
  const keep = (key: string, result: string, size: number, at: number) => {
    const pending = {};
    once.begin(key, A, input, pending);
    once.complete(key, pending, result, size, start + at);
  };
  const find = (key: string, at: number, subject = A, bytes: Uint8Array = input) =>
    once.find(key, subject, bytes, start + at);
  return { once, keep, find };
}

describe.each(['digest', 'bytes'] as const)('with inputs known by their %s', (inputs) => {
  test('gives back what was kept, to the same request only', () => {
    const { keep, find } = scene({ inputs });
    expect(find('acme\n1', 0)).toEqual({ found: 'nothing' });
    keep('acme\n1', 'result', 10, 0);
    expect(find('acme\n1', 10, A, Buffer.from('picture'))).toEqual({ found: 'result', result: 'result' });
    expect(find('acme\n1', 10, A, Buffer.from('pictura'))).toEqual({ found: 'conflict' });
    expect(find('acme\n1', 10, A, Buffer.alloc(0))).toEqual({ found: 'conflict' });
    expect(find('acme\n1', 10, 'sha256:b')).toEqual({ found: 'conflict' });
    expect(find('other\n1', 10)).toEqual({ found: 'nothing' });
    expect(find('__proto__', 10)).toEqual({ found: 'nothing' });
  });

  test('gives what is under way to the same request only', () => {
    const { once, find } = scene({ inputs });
    const pending = {};
    once.begin('1', A, input, pending);
    expect(once.pending).toBe(1);
    expect(find('1', 0, A, Buffer.from('picture'))).toEqual({ found: 'pending', pending });
    expect(find('1', 0, A, Buffer.from('pictura'))).toEqual({ found: 'conflict' });
    expect(find('1', 0, A, Buffer.from('pictures'))).toEqual({ found: 'conflict' });
    expect(find('1', 0, 'sha256:b')).toEqual({ found: 'conflict' });
  });
});

test('forgets what failed, and nothing of another one under the same key', () => {
  const { once, find } = scene();
  const [first, second] = [{ name: 'first' }, { name: 'second' }];
  once.begin('1', A, input, first);
  once.forget('1', first);
  expect(find('1', 0)).toEqual({ found: 'nothing' });
  once.begin('1', A, input, second);
  once.forget('1', first);
  once.complete('1', first, 'late', 1, start);
  expect(find('1', 0)).toEqual({ found: 'pending', pending: second });
  once.complete('1', second, 'result', 1, start);
  once.complete('1', second, 'twice', 1, start);
  once.forget('1', second);
  expect(find('1', 0)).toEqual({ found: 'result', result: 'result' });
  expect(once).toMatchObject({ bytes: 1, pending: 0 });
});

test('after clear, what was under way leaves nothing', () => {
  const { once, keep, find } = scene();
  const pending = {};
  keep('0', 'kept', 10, 0);
  once.begin('1', A, input, pending);
  once.clear();
  once.complete('1', pending, 'late', 1, start);
  expect(['0', '1'].map((key) => find(key, 0).found)).toEqual(['nothing', 'nothing']);
  expect(once).toMatchObject({ bytes: 0, pending: 0 });
});

test('forgets by age, when it is asked and by itself', async () => {
  const { once, keep, find } = scene({ maxAgeMs: 100 });
  keep('1', 'result', 10, 0);
  expect(find('1', 100).found).toBe('result');
  expect(find('1', 101).found).toBe('nothing');
  expect(once.bytes).toBe(0);

  const short = new Once<object, string>({ ...options, maxAgeMs: 5 });
  for (const key of ['a', 'b']) {
    const pending = {};
    short.begin(key, A, input, pending);
    short.complete(key, pending, 'result', 10);
  }
  expect(short.bytes).toBe(20);
  await vi.waitUntil(() => short.bytes === 0, { timeout: 10_000 });
});

test('never holds more than its bytes and its count, the oldest goes first', () => {
  const { once, keep, find } = scene({ maxBytes: 25 });
  for (let i = 0; i < 10; i++) {
    keep(String(i), 'result', 10, i);
    expect(once.bytes).toBeLessThanOrEqual(25);
  }
  expect(['7', '8', '9'].map((key) => find(key, 10).found)).toEqual(['nothing', 'result', 'result']);
  keep('huge', 'result', 26, 10);
  expect(['huge', '9'].map((key) => find(key, 10).found)).toEqual(['nothing', 'result']);

  const few = scene({ maxCount: 2 });
  for (let i = 0; i < 5; i++) few.keep(String(i), 'result', 10, 0);
  expect([0, 1, 2, 3, 4].map((i) => few.find(String(i), 0).found)).toEqual([
    'nothing',
    'nothing',
    'nothing',
    'result',
    'result',
  ]);
});

test('an input that is kept counts', () => {
  const { once, keep, find } = scene({ inputs: 'bytes', maxBytes: 20 });
  keep('1', 'result', 10, 0);
  expect(once.bytes).toBe(17);
  keep('large', 'result', 14, 0);
  expect(find('large', 0).found).toBe('nothing');
  expect(find('1', 0).found).toBe('result');
});
