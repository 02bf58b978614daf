import { describe, expect, it } from 'vitest';
import { compileFilters, parseFilter } from '../../shared/can/filter.ts';
import { linuxIdOf, makeFrame } from '../../shared/can/frame.ts';
import { readCanGrant, type StoredCanGrant } from '../manifest/stored-grants.ts';
import type { CanGrant } from '../manifest/workload.ts';
import {
  type ContainerLink,
  type IdCube,
  interfaceGrantProblem,
  readCubes,
  rulesOf,
  writeCubes,
} from './interface-rules.ts';

function grant(own: Partial<StoredCanGrant>): CanGrant {
  return readCanGrant({ bus: 'can0', read: [], write: [], as: 'interface', ...own });
}

function listed(id: number, ext = false) {
  return { id, ext, length: undefined, maxPerSecond: undefined };
}

/** How many cubes a frame is in: how often can-gw would forward it. */
function times(cubes: readonly IdCube[], linuxId: number): number {
  return cubes.filter(({ id, mask }) => ((linuxId ^ id) & mask) === 0).length;
}

/** Frames of every kind: all standard ids, and extended ones near everything that the filters below speak of. */
const ids = [
  ...Array.from({ length: 0x800 }, (_, id) => ({ id, ext: false })),
  ...Array.from({ length: 0x800 }, (_, id) => ({ id, ext: true })),
  ...[0x18daf110, 0x18daf1f1, 0x18db33f1, 0x18da10f1, 0x1fffffff, 0x10000123].map((id) => ({ id, ext: true })),
];
const frames = ids.flatMap(({ id, ext }) => [0, 2].map((rtr) => makeFrame(id, (ext ? 1 : 0) | rtr, new Uint8Array())));

const lists: readonly (readonly string[])[] = [
  [],
  ['0:0'],
  ['0~0'],
  ['100:700'],
  ['100:C0000700'],
  ['100~700'],
  ['123~C00007FF'],
  ['98DAF110:DFFFFFFF'],
  ['18DAF110~DFFFFFFF'],
  ['100:700', '123:7FF', '120:7F0', '100:700'],
  ['123:7FF', '100~700'],
  ['100~700', '200~700'],
  ['18DAF110:1FFFFF00', '18DAF100:9FFFFF00', '0:80000000', '7FF:7FF'],
  ['001:001', '002:002', '004:004', '7F0:7F0'],
];

describe('the rules for a container interface', () => {
  it.each(lists)('pass what the filters pass, each frame once: %j', (...filters) => {
    const matches = compileFilters(filters.map(parseFilter));
    const cubes = readCubes(filters.map(parseFilter));
    for (const frame of frames) {
      const expected = matches(frame) ? 1 : 0;
      if (times(cubes, linuxIdOf(frame)) !== expected) expect({ frame, cubes }).toBe(`${expected} times`);
    }
  });

  it('write data frames of exactly the listed ids', () => {
    const cubes = writeCubes(grant({ write: [listed(0x3e9), listed(0x3e9, true), listed(0x3e9)] }));
    const passed = frames.filter((frame) => times(cubes, linuxIdOf(frame)) > 0);
    expect(passed.map(({ id, ext, rtr }) => ({ id, ext, rtr }))).toEqual([
      { id: 0x3e9, ext: false, rtr: false },
      { id: 0x3e9, ext: true, rtr: false },
    ]);
    expect(cubes).toEqual(
      expect.arrayContaining([
        { id: 0x3e9, mask: 0xc00007ff },
        { id: 0x800003e9, mask: 0xdfffffff },
      ]),
    );
    expect(cubes).toHaveLength(2);
  });

  it('lead from the bus to each container, back, and between the containers of one bus', () => {
    const link = (host: string, device: string, read: string, write: number, fd = false): ContainerLink => ({
      host,
      device,
      fd,
      read: readCubes([parseFilter(read)]),
      write: writeCubes(grant({ write: [listed(write)] })),
    });
    const [id3, mask] = [0x3e9, 0xc00007ff];
    const a = link('a', 'can0', '100:700', 0x3e9);
    const b = link('b', 'can0', '300:700', 0x3ea);
    const far = link('c', 'can1', '0:0', 0x3eb, true);
    expect(rulesOf([a, b, far])).toEqual([
      { from: 'can0', to: 'a', echo: false, fd: false, cube: { id: 0x100, mask: 0x700 } },
      { from: 'a', to: 'can0', echo: true, fd: false, cube: { id: id3, mask } },
      { from: 'a', to: 'b', echo: false, fd: false, cube: { id: id3, mask } },
      { from: 'can0', to: 'b', echo: false, fd: false, cube: { id: 0x300, mask: 0x700 } },
      { from: 'b', to: 'can0', echo: true, fd: false, cube: { id: 0x3ea, mask } },
      { from: 'can1', to: 'c', echo: false, fd: false, cube: { id: 0, mask: 0 } },
      { from: 'can1', to: 'c', echo: false, fd: true, cube: { id: 0, mask: 0 } },
      { from: 'c', to: 'can1', echo: true, fd: false, cube: { id: 0x3eb, mask } },
      { from: 'c', to: 'can1', echo: true, fd: true, cube: { id: 0x3eb, mask } },
    ]);
  });
});

describe('a grant as an interface', () => {
  it('is possible for filters and ids', () => {
    expect(interfaceGrantProblem(grant({ read: ['100:700', '123~7FF'], write: [listed(1)] }))).toBeUndefined();
  });

  const many = Array.from({ length: 200 }, (_, i) => listed(i));
  it.each<[string, Partial<StoredCanGrant>, RegExp]>([
    ['a rate', { write: [{ ...listed(0x3e9), maxPerSecond: 10 }] }, /cannot hold id 3E9 to a rate.*as: socket/],
    ['a length', { write: [{ ...listed(0x3e9, true), length: 8 }] }, /cannot hold id 000003E9 to a length.*as: socket/],
    ['a condition', { when: 'Vehicle.Speed < 1' }, /condition.*as: socket/],
    ['error frames', { read: ['#FF'] }, /error frames.*as: socket/],
    ['too many rules', { write: many }, /more than 128 rules.*as: socket/],
    [
      'a name that no interface can have',
      { bus: 'the-bus-of-the-body' },
      /cannot be the name of an interface.*as: socket/,
    ],
    ['the name of the loopback', { bus: 'lo' }, /cannot be the name/],
  ])('is refused for %s, with what can do it', (_what, own, message) => {
    expect(interfaceGrantProblem(grant(own))).toMatch(message);
  });
});
