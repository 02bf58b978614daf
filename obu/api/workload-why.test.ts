import { expect, it } from 'vitest';
import { workloadWhy } from './workload-why.ts';

it('a workload that was displaced is shown with those that have its room', () => {
  const reason = 'it needs 600 MiB';
  expect(workloadWhy({ reason })).toBe(reason);
  expect(workloadWhy({ reason, displacedBy: [] })).toBe(reason);
  expect(workloadWhy({ reason, displacedBy: ['adas', 'music'] })).toBe(`displaced by adas, music: ${reason}`);
});
