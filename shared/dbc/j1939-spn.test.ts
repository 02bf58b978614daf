import { describe, expect, it } from 'vitest';
import type { DbcMessage, DbcSignal } from './dbc.ts';
import { noValueFrom, saysNoValue, unsetRaw } from './j1939-spn.ts';

const j1939 = { j1939: true } as DbcMessage;

function signal(length: number, rest: Partial<DbcSignal> = {}): DbcSignal {
  const plain = { length, signed: false, float: 'none', isMultiplexer: false, attributes: new Map(), startRaw: 0 };
  return { ...plain, ...rest } as DbcSignal;
}

describe('the least raw value that is none', () => {
  // J1939-71, tables of the ranges of transmitted signals and of discrete parameters.
  it.each([
    [2, 0b10],
    [3, 0b110],
    [4, 0xe],
    [5, 30],
    [7, 126],
    [8, 0xfe],
    [9, 510],
    [10, 0x3fe],
    [11, 2046],
    [12, 0xfe0],
    [16, 0xfe00],
    [20, 0xfe000],
    [21, 0x1ffffe],
    [24, 0xfe0000],
    [28, 0xfe00000],
    [32, 0xfe000000],
    [40, 0xffffffffff],
  ])('of %i bits is %i', (length, wanted) => {
    expect(noValueFrom(j1939, signal(length))).toBe(wanted);
  });

  it('is exact for 64 bits', () => {
    expect(noValueFrom(j1939, signal(64))).toBe(0xffff_ffff_ffff_ffffn);
  });

  it.each([
    ['one bit', signal(1)],
    ['a signed value', signal(8, { signed: true })],
    ['a float', signal(32, { float: 'single' })],
    ['a multiplexer', signal(8, { isMultiplexer: true })],
    ['text', signal(8, { attributes: new Map([['SigType', 'ASCII']]) })],
    ['a counter', signal(4, { attributes: new Map([['SigType', 'MessageCounter']]) })],
  ])('is there for all but %s', (_, one) => {
    expect(noValueFrom(j1939, one)).toBe(Number.POSITIVE_INFINITY);
  });

  it('is there in J1939 only', () => {
    expect(noValueFrom({ j1939: false } as DbcMessage, signal(8))).toBe(Number.POSITIVE_INFINITY);
    expect(noValueFrom(j1939, signal(8, { attributes: new Map([['SigType', 'Range']]) }))).toBe(0xfe);
  });
});

it('knows the names that databases give to such values, from those of others', () => {
  const none = ['Not available', 'NotAvailable', 'not_avail', 'Error', 'Error indicator', "Don't care/take no action"];
  for (const label of [...none, 'Reserved', 'N/A', 'Take no action', 'Not Defined'])
    expect(saysNoValue(label)).toBe(true);
  for (const label of ['Low priority', 'Highest', 'On', 'Park', 'Reverse']) expect(saysNoValue(label)).toBe(false);
});

it('leaves what nobody has set to the receiver', () => {
  expect(unsetRaw(j1939, signal(2))).toBe(3);
  expect(unsetRaw(j1939, signal(16))).toBe(0xffff);
  expect(unsetRaw(j1939, signal(8, { signed: true }))).toBe(-1);
  expect(unsetRaw(j1939, signal(8, { startRaw: 7, attributes: new Map([['GenSigStartValue', 7]]) }))).toBe(7);
  expect(unsetRaw(j1939, signal(8, { isMultiplexer: true }))).toBe(0);
  expect(unsetRaw({ j1939: false } as DbcMessage, signal(8))).toBe(0);
});
