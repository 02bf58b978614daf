/** What has no value, and what is said of it. */
import { beforeEach, describe, expect, it } from 'vitest';
import { dataFrame } from '../../shared/can/frame.ts';
import { parseDbc } from '../../shared/dbc/parser/dbc-parser.ts';
import { parseVssMapping, parseVssTree } from '../../shared/vss/vss-mapping.ts';
import { HandBus } from '../../test/support/gateway-parts.ts';
import { CanRouter } from '../can/router.ts';
import { SignalStore } from './signal-store.ts';

const dbc = parseDbc(
  `BO_ 259 RANGE: 8 A
 SG_ Spd : 0|16@1+ (0.01,0) [0|1] "kph" B
 SG_ Big : 16|48@1+ (1,0) [0|0] "" B
BO_ 260 SERIAL: 8 A
 SG_ Ser : 0|64@1+ (1,0) [0|0] "" B
BO_ 261 FLOAT: 8 A
 SG_ F : 0|32@1- (1,0) [0|0] "" B
 SG_ G : 32|32@1- (1,0) [-5|5] "" B
BO_ 262 NEST: 8 A
 SG_ OUTER M : 0|8@1+ (1,0) [0|0] "" B
 SG_ INNER M : 8|8@1+ (1,0) [0|0] "" B
 SG_ B0 m0 : 16|8@1+ (1,0) [0|0] "" B
 SG_ Level m8 : 16|8@1+ (1,0) [0|0] "" B
 SG_ Level m9 : 24|8@1+ (1,0) [0|0] "" B
BO_ 263 SHORT: 8 A
 SG_ Late : 56|8@1+ (1,0) [0|0] "" B
 SG_ Seat : 0|4@1+ (1,0) [0|3] "" B
VAL_ 263 Seat 15 "SEAT_SNA" 1 "ON" ;
SIG_VALTYPE_ 261 F : 1;
SIG_VALTYPE_ 261 G : 1;
SG_MUL_VAL_ 262 INNER OUTER 2-2;
SG_MUL_VAL_ 262 B0 INNER 0-0;
SG_MUL_VAL_ 262 Level OUTER 8-9;
`,
  'x.dbc',
);

const leaf = (path: string, datatype: string, signal: string, more = '') =>
  `Vehicle.${path}: { datatype: ${datatype}, dbc2vss: { signal: ${signal}, interval_ms: 0${more} } }\n`;
const mapping =
  leaf('Spd', 'float', 'Spd') +
  leaf('Big', 'uint32', 'Big') +
  leaf('Ser', 'uint64', 'Ser') +
  leaf('SerSigned', 'int64', 'Ser') +
  leaf('SerDouble', 'double', 'Ser') +
  leaf('SerText', 'string', 'Ser') +
  leaf('F', 'float', 'F') +
  leaf('G', 'double', 'G') +
  leaf('GText', 'string', 'G') +
  leaf('B0', 'uint8', 'B0') +
  leaf('Level', 'uint8', 'Level') +
  leaf('Late', 'uint8', 'Late') +
  leaf('Seat', 'uint8', 'Seat') +
  leaf('Page', 'uint8', 'Late', ', multiplexer: [{ signal: Seat, value: 2 }]') +
  leaf('Mapped', 'uint8', 'Late', ', transform: { mapping: [{ from: 1, to: 2 }] }');

describe('a path', () => {
  let store: SignalStore;
  let put: (id: number, ...bytes: number[]) => void;

  beforeEach(() => {
    const bus = new HandBus();
    const router = new CanRouter(bus);
    router.start();
    const tree = parseVssTree(
      'Vehicle.Unfed: { datatype: uint8 }\nVehicle.Set: { datatype: uint8, type: actuator }',
      'vss.yaml',
    );
    store = new SignalStore([{ router, dbcs: [dbc] }], [...parseVssMapping(mapping, 'map.yaml'), ...tree]);
    store.start();
    put = (id, ...bytes) => {
      for (const listener of bus.listeners) listener(dataFrame(id, bytes));
    };
    return () => store.stop();
  });

  const read = (path: string) => store.get(`Vehicle.${path}`)?.value;
  const why = (path: string) => store.whyNone(`Vehicle.${path}`);

  it('has 64 bits with all digits', () => {
    put(260, 255, 255, 255, 255, 255, 255, 255, 255);
    expect(read('Ser')).toBe(2n ** 64n - 1n);
    // It is too large for an int64, which says so.
    expect(read('SerSigned')).toBeUndefined();
    expect(why('SerSigned')).toContain('18446744073709551615');
    expect(read('SerDouble')).toBe(2 ** 64);
    expect(read('SerText')).toBe('18446744073709551615');
    put(260, 1, 0, 0, 0, 0, 0, 0x20, 0);
    expect([read('Ser'), read('SerSigned'), read('SerText')]).toEqual([
      2n ** 53n + 1n,
      2n ** 53n + 1n,
      '9007199254740993',
    ]);
    expect(why('SerSigned')).toBe('');
    put(260, 7, 0, 0, 0, 0, 0, 0, 0);
    expect(read('Ser')).toBe(7);
  });

  it('has no value of what is not finite', () => {
    // 7F800000 hex is infinity, 7FC00000 NaN, FF800000 minus infinity.
    for (const top of [
      [0x80, 0x7f],
      [0xc0, 0x7f],
      [0x80, 0xff],
    ]) {
      put(261, 0, 0, ...top, 0, 0, ...top);
      expect([read('F'), read('G'), read('GText')]).toEqual([undefined, undefined, undefined]);
    }
    expect(why('F')).toMatch(/3 frames .*Infinity/);
    expect(store.invalid).toBe(9);
    put(261, 0, 0, 0xc0, 0x3f, 0, 0, 0xc0, 0x3f);
    expect([read('F'), read('G'), read('GText')]).toEqual([1.5, 1.5, '1.5']);
    expect(why('F')).toBe('');
  });

  it('says that no frame has come, with message and bus', () => {
    expect(why('Spd')).toMatch(/no frame .*RANGE.*103.*can0/);
    // Nothing reports these: neither a bus nor a workload. The actuator says that setting it does not change that.
    expect(why('Unfed')).toMatch(/^nothing reports it.*no mapping.*no workload/);
    expect(why('Set')).toMatch(/^nothing reports it.*it can be set/);
    const provider = store.openProvider('app');
    provider.provide([{ path: 'Vehicle.Set', value: 5 }]);
    expect([why('Set'), read('Set')]).toEqual(['', 5]);
    provider.close();
    expect(why('Set')).toMatch(/no longer/);
  });

  it('says what was dropped, and why', () => {
    put(259, 0x10, 0x27, 0, 0, 0, 0, 1, 0);
    put(259, 0x10, 0x27, 0, 0, 0, 0, 1, 0);
    // 2710 hex is 10,000: 100 kph; byte 6 is bit 32 of Big: 2^32.
    expect(why('Spd')).toMatch(/2 frames .*RANGE.*every value.*100 kph.*0 to 1/);
    expect(why('Big')).toMatch(/4294967296.*uint32/);
    put(263, 15, 0, 0, 0, 0, 0, 0, 5);
    expect(why('Seat')).toContain('"SEAT_SNA"');
    expect(why('Mapped')).toMatch(/was 5.*mapping/);
    // A good one ends it, and a bad one after it is no matter as long as that is fresh.
    put(259, 50, 0, 1, 0, 0, 0, 0, 0);
    put(259, 0x10, 0x27, 1, 0, 0, 0, 0, 0);
    expect([why('Spd'), why('Big'), read('Spd'), read('Big')]).toEqual(['', '', 0.5, 1]);
  });

  it('says that the signal was in none of the frames', () => {
    put(263, 1);
    expect(why('Late')).toMatch(/1 frame .*SHORT.*8 bytes/);
    put(262, 1, 0, 7, 0, 0, 0, 0, 0);
    // OUTER 1 selects no INNER, so byte 1 is none, and B0 is not there although byte 1 is 0.
    expect(read('B0')).toBeUndefined();
    expect(why('B0')).toMatch(/NEST.*INNER/);
    put(263, 1, 0, 0, 0, 0, 0, 0, 1);
    expect(why('Page')).toContain('Seat = 2');
    put(262, 2, 0, 7, 0, 0, 0, 0, 0);
    expect(read('B0')).toBe(7);
  });

  it('is fed by whichever signal of its name is in the frame', () => {
    put(262, 8, 0, 1, 2, 0, 0, 0, 0);
    expect(read('Level')).toBe(1);
    put(262, 9, 0, 1, 2, 0, 0, 0, 0);
    expect(read('Level')).toBe(2);
    put(262, 8, 0, 3, 2, 0, 0, 0, 0);
    expect(read('Level')).toBe(3);
  });
});
