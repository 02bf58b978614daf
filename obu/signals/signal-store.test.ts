import { beforeEach, describe, expect, it } from 'vitest';
import { type CanFrame, dataFrame, remoteFrame } from '../../shared/can/frame.ts';
import { ErrorCode } from '../../shared/errors.ts';
import type { CanBus } from '../can/bus.ts';
import { BusCore } from '../can/bus-core.ts';
import { CanRouter } from '../can/router.ts';
import { parseDbc } from './dbc-parser.ts';
import type { SignalValue } from './signal.ts';
import { SignalStore } from './signal-store.ts';
import { parseVssMapping } from './vss-mapping.ts';

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
    expect(store.get('Vehicle.Speed')).toEqual({ path: 'Vehicle.Speed', value: 50, timeUs: 1_000_000, source: 'can0' });
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

  it('takes a signal from each message that has it', () => {
    put(dataFrame(102, [11, 0]));
    expect(store.get('Vehicle.Same')?.value).toBe(11);
    put(dataFrame(103, [0, 12]));
    expect(store.get('Vehicle.Same')?.value).toBe(12);
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
    store.stop();
    put(motion(5, 1, 0, 1));
    expect(store.get('Vehicle.Speed')).toBeUndefined();
    const got: unknown[] = [];
    store.subscribe(new Set(['Vehicle.Speed']), ([value]) => got.push(value!.value));
    store.start();
    put(motion(6, 1, 0, 1));
    expect(got).toEqual([6]);
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
