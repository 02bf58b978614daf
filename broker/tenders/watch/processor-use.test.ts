import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { until } from '../../../test/support/until.ts';
import { parseUse, processorUse } from './processor-use.ts';

const stat = (state: string, name = 'kerb-tender') =>
  `4242 (${name}) ${state} 1 4242 4242 0 -1 4194560 500 0 0 0 3 4 50 60 20 0 1 0 12345 1000000 200 0 0 0 0 0 0 0 0 0`;

test('nanoseconds where the kernel keeps them, ticks where not, and what its children had', () => {
  expect(parseUse(stat('R'), '5000001 77 3\n')).toEqual({ cpuMs: 5.000001 + 1100, asleep: false });
  expect(parseUse(stat('R'), '')).toEqual({ cpuMs: 70 + 1100, asleep: false });
});

test.each([
  ['S', true],
  ['I', true],
  ['Z', true],
  ['R', false],
  ['D', false],
  ['T', false],
  ['t', false],
])('state %s: asleep %s', (state, asleep) => {
  expect(parseUse(stat(state), '1 0 0')?.asleep).toBe(asleep);
});

test('the name of a program may hold brackets and blanks', () => {
  expect(parseUse(stat('R', 'a) S 1 (b'), '0 0 0')).toEqual({ cpuMs: 1100, asleep: false });
});

test.each(['', 'x', '12 (x)', '12 (x) R 1 2', stat('R').replace(' 3 4 ', ' a b ')])('%j says nothing', (text) => {
  expect(parseUse(text, '')).toBeUndefined();
});

test('of a living process; of one that is not there nothing', async () => {
  const child = spawn('sh', ['-c', 'while :; do :; done'], { stdio: 'ignore' });
  try {
    await until('it computes', () => (processorUse(child.pid!)?.cpuMs ?? 0) > 5);
    child.kill('SIGSTOP');
    await until('it is stopped', () => {
      const before = processorUse(child.pid!)!.cpuMs;
      return processorUse(child.pid!)!.cpuMs === before;
    });
    expect(processorUse(child.pid!)).toMatchObject({ asleep: false });
  } finally {
    child.kill('SIGKILL');
    await once(child, 'close');
  }
  expect(processorUse(child.pid!)).toBeUndefined();
});
