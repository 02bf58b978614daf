import { expect, test } from 'vitest';
import { describeMachine, reportLines } from './report.ts';

test('a table says what was measured under which load, and what was not', () => {
  const machine = { processor: 'CPU', cores: 2, kernel: '6.1', node: 'v24.0.0', load: [0.5, 1, 1.25] };
  const lines = reportLines(machine, [
    { suite: 's', name: 'quick', unit: 'ms', n: 5000, p50: 0.00123, p99: 0.5, max: 12_345.6, load: 1.26 },
    {
      ...{ suite: 's', name: 'aim', unit: '/s', n: 1, p50: 7, p99: 7, max: 7, load: 1 },
      aim: { text: 'at least 8', met: false },
    },
    { suite: 's', name: 'peer', absent: 'it is not on the PATH', load: 1.3 },
  ]);
  expect(lines).toEqual([
    '2 cores (CPU), Linux 6.1, Node v24.0.0; load average before the first row: 0.50 1.00 1.25',
    '',
    'SUITE  WHAT   UNIT  N     P50      P99    MAX     LOAD  AIM',
    's      quick  ms    5000  0.00123  0.500  12,346  1.3',
    's      aim    /s    1     7.00     7.00   7.00    1.0   at least 8: missed',
    's      peer                                             not measured: it is not on the PATH',
  ]);
});

test('this machine can be described', () => {
  const machine = describeMachine();
  expect(machine.cores).toBeGreaterThan(0);
  expect(machine.load).toHaveLength(3);
});
