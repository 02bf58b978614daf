import { expect, it } from 'vitest';
import { memoryLeftFor } from './capacity.ts';

const MIB = 2 ** 20;
const one = (name: string, memLimit?: number, memReservation?: number) => ({
  ...{ name, memReservation },
  memLimit: memLimit === undefined ? undefined : memLimit * MIB,
});
const left = (total: number, ...all: ReturnType<typeof one>[]) =>
  memoryLeftFor(all[0]!, all, {
    total: { memory: total * MIB, cpus: 1 },
    reserve: { memory: 256 * MIB, cpus: 0 },
    undeclared: { memory: 64 * MIB, cpus: 0 },
  }) / MIB;

it('what declares no memory may use what all others leave, whether they declare any or count as some', () => {
  expect(left(1024, one('a'))).toBe(768);
  expect(left(1024, one('a'), one('b', 256), one('c'))).toBe(768 - 256 - 64);
});

it('it is never less than it counts as, or has reserved', () => {
  expect(left(300, one('a'), one('b', 256))).toBe(64);
  expect(left(300, one('a', undefined, 100 * MIB), one('b', 256))).toBe(100);
});
