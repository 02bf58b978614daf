import { expect, it } from 'vitest';
import { type DataUse, heldForData } from './data-limit.ts';

const MIB = 2 ** 20;
const limits = { entries: 100, keepFree: 100 * MIB };
const use = (workload: string, mib: number, extra: Partial<DataUse> = {}): DataUse => ({
  ...{ workload, folder: `/data/${workload}`, bytes: mib * MIB, entries: 1, limit: 64 * MIB, grown: 0 },
  ...extra,
});
const held = (free: number, uses: DataUse[], before: ReturnType<typeof heldForData> = new Map()) =>
  heldForData(uses, free * MIB, limits, before);
const names = (free: number, uses: DataUse[], before?: ReturnType<typeof heldForData>) => [
  ...held(free, uses, before).keys(),
];

it('who keeps more than its limit is held, and nobody else, until there is less', () => {
  const first = held(1000, [
    use('a', 64),
    use('b', 65),
    use('c', 65, { limit: 80 * MIB }),
    use('d', 1, { entries: 101 }),
  ]);
  expect([...first]).toEqual([
    [
      'b',
      {
        cause: 'its-limit',
        why: 'its /data takes more than the 64 MiB that it may; it is started again when there is less in /data/b',
      },
    ],
    ['d', { cause: 'its-limit', why: expect.stringContaining('more than the 100 files and folders') }],
  ]);
  expect(names(1000, [use('b', 64), use('d', 1)], first)).toEqual([]);
});

it('when the disk is as good as full, who fills it most is held; then the next one, if that was not enough', () => {
  const filling = [use('a', 60), use('b', 20, { grown: MIB }), use('c', 10, { grown: 2 * MIB })];
  expect(names(100, filling)).toEqual([]);
  const first = held(99, filling);
  expect([...first]).toEqual([
    [
      'c',
      { cause: 'full-disk', why: expect.stringMatching(/^the disk has 99 MiB left, 100 MiB are kept for the OBU/) },
    ],
  ]);
  const still = [use('a', 60), use('b', 21, { grown: MIB }), use('c', 10)];
  expect(names(98, still, first)).toEqual(['b', 'c']);
  // What somebody else fills is nobody's fault here.
  expect(names(98, [use('a', 60), use('b', 21)])).toEqual([]);
});

it('who was held for a full disk stays so until there is room for more than what is kept free', () => {
  const first = held(99, [use('a', 10, { grown: 1 })]);
  expect(names(124, [use('a', 10)], first)).toEqual(['a']);
  expect(names(125, [use('a', 10)], first)).toEqual([]);
  expect(names(99, [], first)).toEqual([]);
});
