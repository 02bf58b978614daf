import { expect, test } from 'vitest';
import { allSettings, memoryLimit, tenderSettings } from './group-limits.ts';

const MIB = 1024 * 1024;

test('memory has room for image, pattern and copy, and for the tender itself', () => {
  expect(memoryLimit(0, 0)).toBe(16 * MIB);
  expect(memoryLimit(3 * MIB, 1 * MIB)).toBe(24 * MIB);
});

test('the files are those of each version', () => {
  const files = (version: 1 | 2) =>
    (['memory', 'pids', 'cpu'] as const).flatMap((controller) => [
      ...tenderSettings(version, controller),
      ...allSettings(version, controller, 128, 2),
    ]);
  expect(files(2)).toEqual([
    ['memory.max', String(64 * MIB)],
    ['pids.max', '8'],
    ['pids.max', '1024'],
    ['cpu.max', '150000 100000'],
    ['cpu.weight', '200'],
  ]);
  expect(files(1)).toEqual([
    ['memory.limit_in_bytes', String(64 * MIB)],
    ['pids.max', '8'],
    ['pids.max', '1024'],
    ['cpu.cfs_period_us', '100000'],
    ['cpu.cfs_quota_us', '150000'],
    ['cpu.shares', '2048'],
  ]);
});

test('a machine of many processors stays within what the kernel takes', () => {
  expect(allSettings(2, 'cpu', 128, 1024)).toEqual([['cpu.weight', '10000']]);
  expect(allSettings(1, 'cpu', 128, 1024)).toEqual([['cpu.shares', '262144']]);
});
