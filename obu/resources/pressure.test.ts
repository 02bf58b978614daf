import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { PressureLevels, parsePressure, readPressure, withGroup } from './pressure.ts';

it('reads what the kernel writes, and nothing else', () => {
  const text =
    'some avg10=12.34 avg60=1.00 avg300=0.00 total=94593\nfull avg10=0.50 avg60=0.00 avg300=0.00 total=5987\n';
  expect(parsePressure(text)).toBe(12.34);
  for (const other of ['', 'full avg10=1.00', 'some avg60=1.00', 'some avg10=x']) {
    expect(parsePressure(other)).toBeUndefined();
  }
});

it('says so where a kernel does not measure', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'kerb-psi-'));
  try {
    expect(readPressure(folder)).toEqual({ memory: undefined, cpu: undefined });
    const ladders = new PressureLevels({ memory: 20, cpu: 90 });
    expect(ladders.add(readPressure(folder), { memory: 0, cpu: 0 }, 0)).toBe(false);
    expect(ladders.describe()).toBe('not available: this kernel does not measure it (/proc/pressure)');

    await writeFile(join(folder, 'memory'), 'some avg10=50.00 avg60=0.00 avg300=0.00 total=1\n');
    expect(ladders.add(readPressure(folder), { memory: 0, cpu: 0 }, 1)).toBe(true);
    expect(ladders.levels).toEqual({ memory: 1, cpu: 0 });
    expect(ladders.describe()).toBe('memory 50.0 % (lower ones are throttled), cpu not available');
  } finally {
    await rm(folder, { recursive: true });
  }
});

it('the pressure in the group of all workloads counts where it is the higher one', () => {
  expect(withGroup({ memory: 3, cpu: 50 }, 12.5)).toEqual({ memory: 12.5, cpu: 50 });
  expect(withGroup({ memory: 30, cpu: undefined }, 12.5)).toEqual({ memory: 30, cpu: undefined });
  expect(withGroup({ memory: undefined, cpu: undefined }, 100).memory).toBe(100);
  expect(withGroup({ memory: 7, cpu: 1 }, undefined).memory).toBe(7);
});
