import { expect, test } from 'vitest';
import type { TaskResult } from '../../broker/offloads/offload.ts';
import { type ResultLimits, ResultStore } from './once.ts';

const A = 'sha256:a';
const input = Buffer.from('picture');
const result = (size = 10): TaskResult => ({
  output: Buffer.alloc(size, 7),
  queueMs: 1,
  startMs: 0,
  runMs: 2,
  cpuMs: 1,
  peakMemory: 8192,
  isolation: 'process',
});
const store = (limits: Partial<ResultLimits> = {}) =>
  new ResultStore<TaskResult>({ maxBytes: 1000, maxCount: 100, maxAgeMs: 60_000, ...limits });

test('gives back what was kept, to the same offload only', () => {
  const results = store();
  expect(results.find('acme\n1', A, input, 0)).toEqual({ found: 'nothing' });
  results.keep('acme\n1', A, input, result(), 0);
  expect(results.find('acme\n1', A, Buffer.from('picture'), 10)).toEqual({ found: 'result', result: result() });
  expect(results.find('acme\n1', A, Buffer.from('pictura'), 10)).toEqual({ found: 'other-offload' });
  expect(results.find('acme\n1', 'sha256:b', input, 10)).toEqual({ found: 'other-offload' });
  expect(results.find('other\n1', A, input, 10)).toEqual({ found: 'nothing' });
});

test('forgets by age', () => {
  const results = store({ maxAgeMs: 100 });
  results.keep('1', A, input, result(), 0);
  expect(results.find('1', A, input, 100).found).toBe('result');
  expect(results.find('1', A, input, 101).found).toBe('nothing');
  expect(results.bytes).toBe(0);
});

test('never holds more than its bytes and its count, the oldest goes first', () => {
  const results = store({ maxBytes: 25, maxCount: 100 });
  for (let i = 0; i < 10; i++) {
    results.keep(String(i), A, input, result(10), i);
    expect(results.bytes).toBeLessThanOrEqual(25);
  }
  expect(results.find('7', A, input, 10).found).toBe('nothing');
  expect(results.find('8', A, input, 10).found).toBe('result');
  expect(results.find('9', A, input, 10).found).toBe('result');
  results.keep('huge', A, input, result(26), 10);
  expect(results.find('huge', A, input, 10).found).toBe('nothing');
  expect(results.find('9', A, input, 10).found).toBe('result');

  const few = store({ maxCount: 2 });
  for (let i = 0; i < 5; i++) few.keep(String(i), A, input, result(), 0);
  expect([0, 1, 2, 3, 4].map((i) => few.find(String(i), A, input, 0).found)).toEqual([
    'nothing',
    'nothing',
    'nothing',
    'result',
    'result',
  ]);
});

test('keeping the same id again replaces it and counts it once', () => {
  const results = store();
  results.keep('1', A, input, result(10), 0);
  results.keep('1', A, input, result(20), 1);
  expect(results.bytes).toBe(20);
});

test('a view of a large buffer does not keep the buffer', () => {
  const results = store();
  const large = Buffer.alloc(100_000, 3);
  results.keep('1', A, input, { ...result(), output: large.subarray(500, 510) }, 0);
  const found = results.find('1', A, input, 0);
  if (found.found !== 'result') throw new Error('it was kept');
  expect(found.result.output).toEqual(Buffer.alloc(10, 3));
  expect(found.result.output.buffer.byteLength).toBe(10);
});
