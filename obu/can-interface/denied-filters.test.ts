import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type IdCube, writeCubes } from '../grants/interface-rules.ts';
import { deniedCubes, ERROR_KEY, filterKey, parseReceiveLists } from './denied-filters.ts';

const EXTENDED = 0x80000000;
const REMOTE = 0x40000000;

/** By the rule of the kernel. */
function passes(id: number, cube: IdCube): boolean {
  return ((id ^ cube.id) & cube.mask) === 0;
}

function cubesOf(...ids: readonly { readonly id: number; readonly ext: boolean }[]): IdCube[] {
  const write = ids.map((one) => ({ ...one, length: undefined, maxPerSecond: undefined }));
  return writeCubes({ bus: 'can0', read: [], write, as: 'interface', when: undefined });
}

describe('deniedCubes', () => {
  it('denies everything where nothing may be written', () => {
    expect(deniedCubes([])).toEqual([{ id: 0, mask: 0, reason: 'grant' }]);
  });

  it('tells remote frames from ids that are not listed', () => {
    const cubes = deniedCubes(cubesOf({ id: 0x3e9, ext: false }));
    const reasons = (id: number) => cubes.filter((cube) => passes(id >>> 0, cube)).map(({ reason }) => reason);
    expect(reasons(0x3e9)).toEqual([]);
    expect(reasons(0x3ea)).toEqual(['id']);
    expect(reasons(0x3e9 | EXTENDED)).toEqual(['id']);
    expect(reasons(0x3e9 | REMOTE)).toEqual(['kind']);
    expect(reasons(0x3ea | REMOTE | EXTENDED)).toEqual(['kind']);
  });

  it('has each frame that may not be written exactly once, and no other', () => {
    const id = fc.oneof(
      fc.record({ id: fc.nat(0x7ff), ext: fc.constant(false) }),
      fc.record({ id: fc.nat(0x1fffffff), ext: fc.constant(true) }),
    );
    fc.assert(
      fc.property(
        fc.array(id, { minLength: 1, maxLength: 12 }),
        fc.array(id, { maxLength: 40 }),
        fc.boolean(),
        (granted, others, rtr) => {
          const cubes = deniedCubes(cubesOf(...granted));
          for (const frame of [...granted, ...others]) {
            const raw = (frame.id | (frame.ext ? EXTENDED : 0) | (rtr ? REMOTE : 0)) >>> 0;
            const may = !rtr && granted.some((one) => one.id === frame.id && one.ext === frame.ext);
            expect(cubes.filter((cube) => passes(raw, cube)).length).toBe(may ? 0 : 1);
          }
        },
      ),
    );
  });

  it('stays within a few sockets for the most that a grant can list', () => {
    const ids = Array.from({ length: 128 }, (_, i) => ({ id: (i * 4_190_209) % 0x20000000, ext: true }));
    expect(deniedCubes(cubesOf(...ids)).length).toBeLessThan(8 * 512);
  });
});

describe('parseReceiveLists', () => {
  const fil = `
receive list 'rx_fil':
  (any: no entry)
  device   can_id   can_mask  function  userdata   matches  ident
  kb00001  40000000  40000000  0000000000000000  0000000000000000        12  raw
  kb00001     000    40000400  0000000000000000  0000000000000000         7  raw
  kb00001     000    40000400  0000000000000000  0000000000000000         3  raw
  kb00002  40000000  40000000  0000000000000000  0000000000000000         1  raw
  kb00002  40000000  40000001  0000000000000000  0000000000000000         1  bcm
`;
  const errors = `
receive list 'rx_err':
  device   can_id   can_mask  function  userdata   matches  ident
  kb00001  00000000  1fffffff  0000000000000000  0000000000000000         2  raw
`;

  it('reads what the kernel counted for each interface and filter', () => {
    const counts = parseReceiveLists([fil, ''], errors);
    expect([...counts.get('kb00001')!]).toEqual([
      ['40000000:40000000', 12],
      ['00000000:40000400', 7],
      [ERROR_KEY, 2],
    ]);
    expect([...counts.get('kb00002')!]).toEqual([['40000000:40000000', 1]]);
    expect(counts.get('kb00003')).toBeUndefined();
  });

  it('reads nothing out of what is no list', () => {
    expect(parseReceiveLists(['', 'x y z', 'kb1 0 0 0 0 -1 raw'], 'kb1 raw').size).toBe(0);
  });

  it('names filters as the kernel lists them', () => {
    expect(filterKey({ id: 0x3ff, mask: 0x40000400 })).toBe('00000000:40000400');
    expect(filterKey({ id: 0x3e9, mask: 0xffffffff })).toBe('000003e9:c00007ff');
    expect(filterKey({ id: 0x98daf110, mask: 0xdfffffff })).toBe('98daf110:dfffffff');
  });
});
