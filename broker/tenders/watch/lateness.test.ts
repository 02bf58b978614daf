import { expect, test } from 'vitest';
import { judge, type LateLimits, type ProcessorUse } from './lateness.ts';

const limits: LateLimits = { afterMs: 250, cpuMs: 100, atMostMs: 5_000 };
const awake = (cpuMs: number): ProcessorUse => ({ cpuMs, asleep: false });
const asleep = (cpuMs: number): ProcessorUse => ({ cpuMs, asleep: true });

test.each<[string, number, ProcessorUse | undefined, ProcessorUse | undefined, ProcessorUse | undefined, string]>([
  ['it is not late yet', 249, awake(0), awake(0), awake(1_000), 'wait'],
  ['it had its CPU time, and did nothing with it', 250, awake(40), awake(40), awake(140), 'hangs'],
  ['it had a little less', 250, awake(40), awake(40), awake(139.9), 'wait'],
  ['it got nothing and would run', 250, awake(7), awake(7), awake(7), 'wait'],
  ['it still got nothing', 4_999, awake(7), awake(7), awake(7), 'wait'],
  ['there is an end to waiting', 5_000, awake(7), awake(7), awake(7), 'starved'],
  ['it got a little, for too long', 60_000, awake(7), awake(7.5), awake(8), 'starved'],
  ['it got it in small pieces', 60_000, awake(0), awake(99), awake(101), 'hangs'],
  ['it sleeps, and nothing will wake it', 250, asleep(7), asleep(7), asleep(7), 'hangs'],
  ['it slept, and wakes', 250, asleep(7), asleep(7), awake(7), 'wait'],
  ['it slept in between', 250, awake(7), asleep(7), asleep(7.01), 'wait'],
  ['it has just gone to sleep', 250, awake(7), awake(7), asleep(7), 'wait'],
  ['a hanging one is not taken for one that got nothing', 5_000, asleep(7), asleep(7), asleep(7), 'hangs'],
  ['the kernel does not say', 250, undefined, undefined, undefined, 'hangs'],
  ['it has gone', 250, awake(7), awake(7), undefined, 'hangs'],
  ['its processor time fell with a child that was not waited for', 250, awake(70), awake(70), awake(7), 'wait'],
])('%s', (_what, overdueMs, first, before, now, verdict) => {
  expect(judge(limits, overdueMs, first, before, now)).toBe(verdict);
});
