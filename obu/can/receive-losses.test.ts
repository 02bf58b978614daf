import { describe, expect, it } from 'vitest';
import { LossCounter, makeMarkerFilter, matchesOf } from './receive-losses.ts';

describe('matchesOf', () => {
  const marker = { id: 0xd1234567, mask: 0xdfffffff };
  const list = `
receive list 'rx_inv':
  (any: no entry)
  device   can_id   can_mask  function  userdata   matches  ident
   vcan0  d1111111  dfffffff  00000000a5a5a5a5  00000000deadbeef         7  raw
   vcan0  d1234567  dfffffff  00000000a5a5a5a5  00000000deadbeef       421  raw
   vcan1  d1234567  dfffffff  00000000a5a5a5a5  00000000deadbeef         9  raw
`;

  it('finds the line of this marker on this interface', () => {
    expect(matchesOf(list, 'vcan0', marker)).toBe(421);
    expect(matchesOf(list, 'vcan1', marker)).toBe(9);
  });

  it('finds nothing where there is nothing', () => {
    expect(matchesOf(list, 'vcan2', marker)).toBeUndefined();
    expect(matchesOf(list, 'vcan0', { ...marker, id: 1 })).toBeUndefined();
    expect(matchesOf('', 'vcan0', marker)).toBeUndefined();
    expect(matchesOf('   vcan0  d1234567', 'vcan0', marker)).toBeUndefined();
  });

  it('makes a marker that is a remote frame of 29 bits, another one each time', () => {
    const ids = new Set(Array.from({ length: 50 }, () => makeMarkerFilter().id));
    expect(ids.size).toBeGreaterThan(40);
    for (const id of ids) expect(id >>> 28).toBe(0xd);
  });
});

describe('LossCounter', () => {
  it('counts nothing while frames only wait', () => {
    const counter = new LossCounter();
    const looks = [
      [100, 90],
      [200, 200],
      [300, 280],
      [400, 395],
      [500, 500],
      [600, 580],
    ] as const;
    expect(looks.map(([matches, accounted]) => counter.look(matches, accounted))).toEqual([0, 0, 0, 0, 0, 0]);
  });

  it('counts what never comes, once', () => {
    const counter = new LossCounter();
    const counted = [0, 1, 2, 3, 4, 5, 6].map((i) => counter.look(1000 + i, 900 + i));
    expect(counted).toEqual([0, 0, 0, 0, 100, 0, 0]);
    expect([0, 1, 2, 3, 4].map(() => counter.look(2000, 1850)).reduce((a, b) => a + b)).toBe(50);
  });

  it('never counts below zero', () => {
    const counter = new LossCounter();
    expect([0, 1, 2, 3, 4, 5].map(() => counter.look(10, 20))).toEqual([0, 0, 0, 0, 0, 0]);
  });
});
