import { beforeEach, describe, expect, it } from 'vitest';
import { ErrorCode } from '../../shared/base/errors.ts';
import type { CanBus } from '../../shared/can/bus.ts';
import { BusCore } from '../../shared/can/bus-core.ts';
import { type CanFrame, dataFrame, remoteFrame } from '../../shared/can/frame.ts';
import { parseDbc } from '../../shared/dbc/parser/dbc-parser.ts';
import type { SignalValue } from '../../shared/vss/signal.ts';
import { parseVssMapping } from '../../shared/vss/vss-mapping.ts';
import { CanRouter } from '../can/router.ts';
import { SignalStore } from './signal-store.ts';

const dbc = parseDbc(
  `BO_ 100 Motion: 8 X
 SG_ Speed : 0|16@1+ (0.01,0) [0|300] "km/h" X
 SG_ Gear : 16|4@1- (1,0) [-1|6] "" X
 SG_ Door : 24|2@1+ (1,0) [0|3] "" X
BO_ 2566844926 Tyres: 8 X
 SG_ Index M : 0|8@1+ (1,0) [0|3] "" X
 SG_ Left m0 : 8|8@1+ (2,0) [0|510] "" X
 SG_ Right m1 : 8|8@1+ (2,0) [0|510] "" X
BO_ 101 PlainMux: 8 X
 SG_ Which : 0|8@1+ (1,0) [0|0] "" X
 SG_ Value : 8|8@1+ (1,0) [0|0] "" X
BO_ 102 Variant1: 8 X
 SG_ Same : 0|8@1+ (1,0) [0|0] "" X
BO_ 103 Variant2: 8 X
 SG_ Same : 8|8@1+ (1,0) [0|0] "" X
VAL_ 100 Door 1 "OPEN" 0 "CLOSED" ;
BO_ 104 Sensors: 8 X
 SG_ Level : 0|8@1+ (1,0) [0|100] "%" X
 SG_ Seat : 8|4@1+ (1,0) [0|3] "" X
 SG_ Lamp : 12|2@1+ (1,0) [0|3] "" X
 SG_ Free : 16|8@1+ (1,0) [0|0] "" X
BO_ 105 Deep: 4 X
 SG_ Page M : 0|8@1+ (1,0) [0|3] "" X
 SG_ Sub m2M : 8|8@1+ (1,0) [0|9] "" X
 SG_ Deepest m7 : 16|8@1+ (1,0) [0|200] "" X
VAL_ 104 Seat 15 "SEAT_SNA" 7 "HEATED" 1 "ON" 0 "OFF" ;
VAL_ 104 Lamp 3 "SNA" 1 "ON" 0 "OFF" ;
SG_MUL_VAL_ 105 Sub Page 2-2;
SG_MUL_VAL_ 105 Deepest Sub 7-8, 20-21;
`,
  'test.dbc',
);

const mapping = `
Vehicle.Speed: { datatype: float, dbc2vss: { signal: Speed, interval_ms: 0 } }
Vehicle.SpeedSlow: { datatype: float, dbc2vss: { signal: Speed, interval_ms: 100 } }
Vehicle.Gear: { datatype: int8, dbc2vss: { signal: Gear, on_change: true } }
Vehicle.Door: { datatype: boolean, dbc2vss: { signal: Door, interval_ms: 0, transform: { mapping: [{ from: OPEN, to: true }, { from: CLOSED, to: false }] } } }
Vehicle.Left: { datatype: uint16, dbc2vss: { signal: Left, interval_ms: 0 } }
Vehicle.Right: { datatype: uint16, dbc2vss: { signal: Right, interval_ms: 0 } }
Vehicle.Second: { datatype: uint8, dbc2vss: { signal: Value, interval_ms: 0, multiplexer: [{ signal: Which, value: 2 }] } }
Vehicle.Same: { datatype: uint8, dbc2vss: { signal: Same, interval_ms: 0 } }
`;

/** Values that are none. */
const doubtful = `
Vehicle.Level: { datatype: uint8, dbc2vss: { signal: Level, interval_ms: 0 } }
Vehicle.Low: { datatype: uint8, max: 40, dbc2vss: { signal: Level, interval_ms: 0 } }
Vehicle.Seat: { datatype: uint8, dbc2vss: { signal: Seat, interval_ms: 0 } }
Vehicle.Lamp: { datatype: boolean, dbc2vss: { signal: Lamp, interval_ms: 0, transform: { mapping: [{ from: ON, to: true }, { from: SNA, to: false }] } } }
Vehicle.Free: { datatype: uint8, dbc2vss: { signal: Free, interval_ms: 0, transform: { math: "x - 10" } } }
Vehicle.Deepest: { datatype: uint8, dbc2vss: { signal: Deepest, interval_ms: 0, ttl_ms: 40 } }
`;

function makeBus(): { bus: CanBus; put: (frame: CanFrame) => void } {
  const core = new BusCore();
  const bus: CanBus = {
    name: 'can0',
    kind: 'userspace',
    start: async () => undefined,
    stop: async () => undefined,
    send: () => undefined,
    subscribe: (listener) => core.subscribe(listener),
    onState: () => () => undefined,
    state: { state: 'Up' },
    stats: core.stats,
  };
  return { bus, put: (frame) => core.deliver(frame) };
}

describe('SignalStore', () => {
  let put: (frame: CanFrame) => void;
  let store: SignalStore;

  beforeEach(() => {
    const { bus, put: deliver } = makeBus();
    put = deliver;
    const router = new CanRouter(bus);
    router.start();
    store = new SignalStore([{ router, dbcs: [dbc] }], parseVssMapping(mapping, 'map.yaml'));
    store.start();
    return () => store.stop();
  });

  const motion = (kmh: number, gear: number, door: number, timeUs: number) => {
    const raw = Math.round(kmh * 100);
    return dataFrame(100, [raw & 255, raw >> 8, gear & 15, door, 0, 0, 0, 0], { timeUs });
  };

  it('knows the mapped paths, and their values once frames have come', () => {
    expect(store.paths()).toEqual([
      'Vehicle.Door',
      'Vehicle.Gear',
      'Vehicle.Left',
      'Vehicle.Right',
      'Vehicle.Same',
      'Vehicle.Second',
      'Vehicle.Speed',
      'Vehicle.SpeedSlow',
    ]);
    expect(store.get('Vehicle.Speed')).toBeUndefined();
    put(motion(50, -1, 1, 1_000_000));
    expect(store.get('Vehicle.Speed')).toEqual({
      path: 'Vehicle.Speed',
      value: 50,
      timeUs: 1_000_000,
      source: 'can0',
      stale: false,
    });
    expect(store.get('Vehicle.Gear')?.value).toBe(-1);
    expect(store.get('Vehicle.Door')?.value).toBe(true);
    expect(store.withValue).toBe(4);
    expect(store.get('Vehicle.Width')).toBeUndefined();
  });

  it('delivers in one call what one frame said, and only what was asked for', () => {
    const calls: (readonly SignalValue[])[] = [];
    const all: (readonly SignalValue[])[] = [];
    const end = store.subscribe(new Set(['Vehicle.Speed', 'Vehicle.Door', 'Vehicle.Left']), (v) => calls.push(v));
    store.subscribe(new Set(store.paths()), (v) => all.push(v));
    put(motion(50, 1, 0, 1_000_000));
    end();
    put(motion(60, 1, 0, 2_000_000));
    expect(calls.map((values) => values.map(({ path, value }) => [path, value]))).toEqual([
      [
        ['Vehicle.Door', false],
        ['Vehicle.Speed', 50],
      ],
    ]);
    expect(all).toHaveLength(2);
  });

  it('delivers the last known values to a new subscriber at once', () => {
    put(motion(50, 1, 0, 1_000_000));
    const got: SignalValue[] = [];
    store.subscribe(new Set(['Vehicle.Speed', 'Vehicle.Left']), (values) => got.push(...values));
    expect(got.map(({ path }) => path)).toEqual(['Vehicle.Speed']);
  });

  it('keeps to the interval, by the time of the frames', () => {
    const slow: number[] = [];
    store.subscribe(new Set(['Vehicle.SpeedSlow']), ([value]) => slow.push(value!.value as number));
    for (let i = 0; i < 10; i++) put(motion(i, 1, 0, 1_000_000 + i * 40_000));
    // At 0, 120, 240 and 360 ms.
    expect(slow).toEqual([0, 3, 6, 9]);
    // The clock was set back: the interval begins anew.
    put(motion(77, 1, 0, 500_000));
    expect(slow.at(-1)).toBe(77);
  });

  it('delivers on change only what changed', () => {
    const gears: unknown[] = [];
    store.subscribe(new Set(['Vehicle.Gear']), ([value]) => gears.push(value!.value));
    for (const gear of [1, 1, 2, 2, 1]) put(motion(0, gear, 0, 1_000_000));
    expect(gears).toEqual([1, 2, 1]);
  });

  it('ignores values that the mapping does not know, and counts them', () => {
    put(motion(0, 1, 1, 1_000_000));
    put(motion(0, 1, 2, 2_000_000));
    expect(store.get('Vehicle.Door')).toMatchObject({ value: true, timeUs: 1_000_000 });
    expect(store.ignored).toBe(1);
  });

  it('takes no value that is out of range or named as none, and counts it', () => {
    const { bus, put: deliver } = makeBus();
    const router = new CanRouter(bus);
    router.start();
    const other = new SignalStore([{ router, dbcs: [dbc] }], parseVssMapping(doubtful, 'map.yaml'));
    other.start();
    const all = () => ['Level', 'Low', 'Seat', 'Lamp', 'Free'].map((name) => other.get(`Vehicle.${name}`)?.value);
    // Seat 7 is out of range and has a name, so it is meant.
    deliver(dataFrame(104, [30, 7 | (1 << 4), 12, 0, 0, 0, 0, 0]));
    expect(all()).toEqual([30, 30, 7, true, 2]);
    expect([other.invalid, other.ignored]).toEqual([0, 0]);
    // Level 101 is out of its range, for both paths; Seat 5 too; Lamp SNA is mapped; Free 5 - 10 is below 0.
    deliver(dataFrame(104, [101, 5 | (3 << 4), 5, 0, 0, 0, 0, 0]));
    expect(all()).toEqual([30, 30, 7, false, 2]);
    expect([other.invalid, other.ignored]).toEqual([3, 1]);
    // Seat SNA; Level 50 is above the maximum of Vehicle.Low; Lamp OFF is in no mapping.
    deliver(dataFrame(104, [50, 15, 10, 0, 0, 0, 0, 0]));
    expect(all()).toEqual([50, 30, 7, false, 0]);
    expect([other.invalid, other.ignored]).toEqual([4, 3]);
    other.stop();
  });

  it('follows multiplexers that are multiplexed, and lets their values turn stale', async () => {
    const { bus, put: deliver } = makeBus();
    const router = new CanRouter(bus);
    router.start();
    const other = new SignalStore([{ router, dbcs: [dbc] }], parseVssMapping(doubtful, 'map.yaml'));
    other.start();
    const end = Promise.withResolvers<SignalValue>();
    other.subscribe(new Set(['Vehicle.Deepest']), ([value]) => value!.stale && end.resolve(value!));
    for (const data of [
      [1, 7, 1, 0],
      [2, 6, 2, 0],
      [2, 9, 3, 0],
      [2, 21, 4, 0],
      [2, 7, 201, 0],
    ]) {
      deliver(dataFrame(105, data));
    }
    expect(other.get('Vehicle.Deepest')).toMatchObject({ value: 4, stale: false });
    await expect(end.promise).resolves.toMatchObject({ path: 'Vehicle.Deepest', value: 4 });
    expect(other.stale).toBe(1);
    other.stop();
  });

  it('takes a signal from each message that has it, the first one while it is fresh', () => {
    put(dataFrame(103, [0, 12]));
    expect(store.get('Vehicle.Same')?.value).toBe(12);
    put(dataFrame(102, [11, 0]));
    put(dataFrame(103, [0, 13]));
    expect(store.get('Vehicle.Same')?.value).toBe(11);
  });

  it('has a path of two mapping files from both, and refuses one of two kinds', () => {
    const buses = [makeBus(), makeBus()].map(({ bus, put: deliver }, i) => {
      const router = new CanRouter({ ...bus, name: `can${i}` });
      router.start();
      return { router, dbcs: [dbc], deliver };
    });
    const first = parseVssMapping('Vehicle.A: { datatype: uint8, dbc2vss: { signal: Value } }', 'a.yaml');
    const second = parseVssMapping('Vehicle.A: { datatype: uint8, dbc2vss: { signal: Which } }', 'b.yaml');
    const both = new SignalStore(buses, [...first, ...second], { rankingOf: () => ['can1', 'can0'] });
    both.start();
    const got: unknown[] = [];
    both.subscribe(new Set(['Vehicle.A']), ([value]) => got.push([value!.value, value!.source]));
    buses[0]!.deliver(dataFrame(101, [1, 2, 0, 0, 0, 0, 0, 0]));
    buses[1]!.deliver(dataFrame(101, [3, 4, 0, 0, 0, 0, 0, 0]));
    buses[0]!.deliver(dataFrame(101, [5, 6, 0, 0, 0, 0, 0, 0]));
    expect(got).toEqual([
      [2, 'can0'],
      [4, 'can1'],
    ]);
    both.stop();
    const third = parseVssMapping('Vehicle.A: { datatype: float, dbc2vss: { signal: Which } }', 'c.yaml');
    expect(() => new SignalStore(buses, [...first, ...third]).start()).toThrow(
      'c.yaml: Vehicle.A: it is a float here and a uint8 in another file',
    );
  });

  it('follows the multiplexer of the database', () => {
    put(dataFrame(0x18fef1fe, [0, 100, 0, 0, 0, 0, 0, 0]));
    put(dataFrame(0x18fef1fe, [1, 110, 0, 0, 0, 0, 0, 0]));
    put(dataFrame(0x18fef1fe, [2, 120, 0, 0, 0, 0, 0, 0]));
    expect(store.get('Vehicle.Left')?.value).toBe(200);
    expect(store.get('Vehicle.Right')?.value).toBe(220);
  });

  it('follows the multiplexer of the mapping', () => {
    put(dataFrame(101, [1, 5, 0, 0, 0, 0, 0, 0]));
    expect(store.get('Vehicle.Second')).toBeUndefined();
    put(dataFrame(101, [2, 6, 0, 0, 0, 0, 0, 0]));
    expect(store.get('Vehicle.Second')?.value).toBe(6);
  });

  it('takes no value from short, remote, other and error frames', () => {
    put(dataFrame(100, [1]));
    put(remoteFrame(100, 8));
    put(dataFrame(100, [1, 1, 1, 1, 1, 1, 1, 1], { ext: true }));
    put(dataFrame(0x18fef1ff, [0, 1]));
    expect(store.withValue).toBe(0);
  });

  it('stamps frames without a time', () => {
    put(motion(5, 1, 0, 0));
    expect(Math.abs(store.get('Vehicle.Speed')!.timeUs / 1000 - Date.now())).toBeLessThan(60_000);
  });

  it('hears nothing after stop, and starts again', () => {
    put(motion(4, 1, 0, 1));
    store.stop();
    put(motion(5, 1, 0, 1));
    expect(store.get('Vehicle.Speed')).toMatchObject({ value: 4, stale: true });
    const got: unknown[] = [];
    store.subscribe(new Set(['Vehicle.Speed']), ([value]) => got.push(value!.value));
    store.start();
    put(motion(6, 1, 0, 1));
    expect(got).toEqual([4, 6]);
  });

  it.each([
    ['{ signal: Nope }', 'Vehicle.A: no message of test.dbc has a signal Nope'],
    ['{ signal: Speed, multiplexer: [{ signal: Which, value: 1 }] }', 'has Speed together with multiplexer Which'],
  ])('refuses %s when it starts', (feed, what) => {
    const router = new CanRouter(makeBus().bus);
    const bad = new SignalStore(
      [{ router, dbcs: [dbc] }],
      parseVssMapping(`Vehicle.A: { datatype: float, dbc2vss: ${feed} }`, 'map.yaml'),
    );
    expect(() => bad.start()).toThrow(expect.objectContaining({ code: ErrorCode.BadSignalMapping }));
    expect(() => bad.start()).toThrow(what);
  });
});
