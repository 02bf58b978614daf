import { expect, test } from 'vitest';
import { type TaskResult, withOwnMemory } from './offload.ts';

const result = (output: Buffer): TaskResult => ({
  output,
  queueMs: 1,
  startMs: 0,
  runMs: 2,
  cpuMs: 1,
  peakMemory: 8192,
  isolation: 'process',
});

test('a view of a large buffer does not keep the buffer', () => {
  const large = Buffer.alloc(100_000, 3);
  const own = withOwnMemory(result(large.subarray(500, 510)));
  expect(own).toEqual(result(Buffer.alloc(10, 3)));
  expect(own.output.buffer.byteLength).toBe(10);
  expect(withOwnMemory(result(large.subarray(0, 0))).output.buffer.byteLength).toBe(0);
});

test('one that fills its buffer is not copied', () => {
  const whole = result(Buffer.from(new ArrayBuffer(1000)));
  expect(withOwnMemory(whole)).toBe(whole);
});
