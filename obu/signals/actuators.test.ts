import { setTimeout as sleep } from 'node:timers/promises';
import { beforeEach, describe, expect, it } from 'vitest';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import type { CanBus } from '../../shared/can/bus.ts';
import { BusCore } from '../../shared/can/bus-core.ts';
import { type CanFrame, dataFrame } from '../../shared/can/frame.ts';
import { parseDbc } from '../../shared/dbc/parser/dbc-parser.ts';
import { parseVssMapping, parseVssTree } from '../../shared/vss/vss-mapping.ts';
import { CanRouter } from '../can/router.ts';
import { SignalStore } from './signal-store.ts';

const dbc = parseDbc(
  `BO_ 100 Climate: 8 Gateway
 SG_ Fan : 0|8@1+ (0.5,0) [0|100] "%" X
 SG_ Mode : 8|2@1+ (1,0) [0|3] "" X
 SG_ Warm : 16|8@1- (0.5,20) [-40|80] "degC" X
 SG_ Count : 48|4@1+ (1,0) [0|15] "" X
 SG_ Check : 56|8@1+ (1,0) [0|255] "" X
BO_ 101 ClimateState: 2 Unit
 SG_ FanIs : 0|8@1+ (0.5,0) [0|100] "%" X
BO_ 102 Seats: 4 Unit
 SG_ Row M : 0|2@1+ (1,0) [0|3] "" X
 SG_ HeatLeft m0 : 8|4@1+ (1,0) [0|9] "" X
 SG_ HeatRight m1 : 8|4@1+ (1,0) [0|9] "" X
BO_ 103 Twice: 2 Unit
 SG_ Same : 0|8@1+ (1,0) [0|9] "" X
BO_ 104 TwiceMore: 2 Unit
 SG_ Same : 0|8@1+ (1,0) [0|9] "" X
VAL_ 100 Mode 0 "OFF" 1 "AUTO" 2 "MANUAL" ;
`,
  'test.dbc',
);

const mapping = `
Vehicle.Fan: { type: actuator, datatype: uint8, max: 100, dbc2vss: { signal: FanIs, interval_ms: 60000 }, vss2dbc: { signal: Fan, counter: { signal: Count }, checksum: { signal: Check, algorithm: xor }, acknowledge: { timeout_ms: 5000 } } }
Vehicle.Mode: { type: actuator, datatype: string, vss2dbc: { signal: Mode, transform: { mapping: [{ from: Auto, to: AUTO }, { from: Manual, to: 2 }] } } }
Vehicle.Warm: { type: actuator, datatype: float, dbc2vss: { signal: Warm, on_change: true }, vss2dbc: { signal: Warm } }
Vehicle.HeatRight: { type: actuator, datatype: uint8, vss2dbc: { signal: HeatRight } }
Vehicle.Speed: { datatype: float, dbc2vss: { signal: Mode } }
`;

class TestBus implements CanBus {
  readonly name = 'can0';
  readonly kind = 'userspace';
  readonly core = new BusCore();
  readonly state = { state: 'Up' } as const;
  readonly stats = this.core.stats;
  readonly sent: number[][] = [];
  onSend: (frame: CanFrame) => void = () => {};
  async start() {}
  async stop() {}
  send(frame: CanFrame) {
    this.onSend(frame);
    this.sent.push([...frame.data]);
  }
  subscribe(listener: (frame: CanFrame) => void) {
    return this.core.subscribe(listener);
  }
  onState() {
    return () => {};
  }
  put(id: number, ...bytes: number[]) {
    this.core.deliver(dataFrame(id, bytes));
  }
}

describe('actuating', () => {
  let bus: TestBus;
  let store: SignalStore;

  const make = (text: string, defaults = new Map<string, number>()) => {
    bus = new TestBus();
    const router = new CanRouter(bus);
    router.start();
    const tree = parseVssTree('Vehicle.Roof: { type: actuator, datatype: boolean }', 'vss.yaml');
    store = new SignalStore([{ router, dbcs: [dbc] }], [...parseVssMapping(text, 'map.yaml'), ...tree], { defaults });
    store.start();
  };

  beforeEach(() => {
    make(mapping, new Map([['Warm', 22]]));
    return () => store.stop();
  });

  const code = (wanted: number) => expect.objectContaining({ code: wanted });
  /** XOR of the first seven bytes. */
  const checked = (...bytes: number[]) => [...bytes, bytes.reduce((a, b) => a ^ b, 0)];

  it('sends the frame with defaults, counter and checksum, and waits for the acknowledgement', async () => {
    const done = store.actuate('Vehicle.Fan', 40);
    await sleep(1);
    // Fan 40 % is 80; Warm 22 degrees is raw 4; the counter was 0.
    expect(bus.sent).toEqual([checked(80, 0, 4, 0, 0, 0, 1)]);
    bus.put(101, 10, 0);
    // What somebody else says of the path acknowledges nothing.
    store.openProvider('app').provide([{ path: 'Vehicle.Fan', value: 40 }]);
    bus.put(101, 80, 0);
    // Its interval of a minute does not matter to who waits.
    await expect(done).resolves.toMatchObject({ path: 'Vehicle.Fan', value: 40, source: 'can0', stale: false });
  });

  it('keeps what the bus said of the other signals, counts on, and around', async () => {
    bus.onSend = () => queueMicrotask(() => bus.put(101, 2, 0));
    bus.put(100, 0, 1, 0xf0, 0xaa, 0, 0, 15, 0);
    await store.actuate('Vehicle.Fan', 1);
    await store.actuate('Vehicle.Fan', 1);
    // Byte 3 is of no signal, and stays.
    expect(bus.sent).toEqual([checked(2, 1, 0xf0, 0xaa, 0, 0, 0), checked(2, 1, 0xf0, 0xaa, 0, 0, 1)]);
  });

  it('sets the multiplexer so that the signal is in the frame', async () => {
    bus.put(102, 0, 7, 0, 0);
    await expect(store.actuate('Vehicle.HeatRight', 3)).resolves.toBeUndefined();
    expect(bus.sent).toEqual([[1, 3, 0, 0]]);
  });

  it('writes values by name and by number, and nothing that the mapping does not know', async () => {
    await store.actuate('Vehicle.Mode', 'Auto');
    await store.actuate('Vehicle.Mode', 'Manual');
    expect(bus.sent.map((data) => data[1])).toEqual([1, 2]);
    await expect(store.actuate('Vehicle.Mode', 'Off')).rejects.toEqual(code(ErrorCode.BadSignalValue));
  });

  it('takes the value that its own frame rounds to for an acknowledgement', async () => {
    bus.onSend = (frame) => queueMicrotask(() => bus.core.deliver(frame));
    // 21.3 degrees is raw 2.6, so 3, so 21.5.
    await expect(store.actuate('Vehicle.Warm', 21.3)).resolves.toMatchObject({ value: 21.5 });
    // The same again changes nothing, and is acknowledged all the same.
    await expect(store.actuate('Vehicle.Warm', 21.5)).resolves.toMatchObject({ value: 21.5 });
  });

  it('says what the vehicle reports instead when it is not acknowledged in time', async () => {
    bus.put(101, 10, 0);
    await expect(store.actuate('Vehicle.Fan', 40, 30)).rejects.toMatchObject({
      code: ErrorCode.ActuationTimedOut,
      message: 'Vehicle.Fan was set to 40, and the vehicle did not acknowledge it within 30 ms: Vehicle.Fan is 5',
    });
    // Nobody waits any more.
    bus.put(101, 80, 0);
  });

  it('does one actuation of a message at a time, and none that has waited too long', async () => {
    const first = store.actuate('Vehicle.Fan', 40, 80);
    const second = store.actuate('Vehicle.Fan', 50, 5000);
    const third = store.actuate('Vehicle.Fan', 60, 20);
    const results = Promise.allSettled([first, second, third]);
    await sleep(5);
    expect(bus.sent).toHaveLength(1);
    await expect(first).rejects.toEqual(code(ErrorCode.ActuationTimedOut));
    await sleep(5);
    expect(bus.sent).toHaveLength(2);
    bus.put(101, 100, 0);
    const [, two, three] = await results;
    expect(two).toMatchObject({ status: 'fulfilled' });
    expect(three).toMatchObject({ reason: expect.objectContaining({ code: ErrorCode.ActuationTimedOut }) });
    expect(bus.sent).toHaveLength(2);
  });

  it('lets wait only so many', async () => {
    const all = Array.from({ length: 70 }, () => store.actuate('Vehicle.Fan', 1, 1));
    const codes = (await Promise.allSettled(all)).map((one) => one.status === 'rejected' && one.reason.code);
    expect(codes.filter((one) => one === ErrorCode.TooManyRequests)).toHaveLength(6);
  });

  it('passes on what the bus throws, and goes on', async () => {
    bus.onSend = () => {
      throw new KerbError(ErrorCode.BusDown, 'down');
    };
    await expect(store.actuate('Vehicle.Mode', 'Auto')).rejects.toEqual(code(ErrorCode.BusDown));
    bus.onSend = () => {};
    await expect(store.actuate('Vehicle.Mode', 'Auto')).resolves.toBeUndefined();
  });

  it.each([
    ['Vehicle.No', 1, ErrorCode.UnknownSignal],
    ['Vehicle.Speed', 1, ErrorCode.NotAnActuator],
    ['Vehicle.Fan', 'fast', ErrorCode.BadSignalValue],
    ['Vehicle.Fan', 1.5, ErrorCode.BadSignalValue],
    ['Vehicle.Fan', 101, ErrorCode.BadSignalValue],
    ['Vehicle.Fan', Number.NaN, ErrorCode.BadSignalValue],
    ['Vehicle.Warm', 1000, ErrorCode.SignalOutOfRange],
    ['Vehicle.Roof', true, ErrorCode.NoActuationProvider],
  ])('refuses %s = %s', async (path, value, wanted) => {
    await expect(store.actuate(path, value)).rejects.toEqual(code(wanted));
    expect(bus.sent).toEqual([]);
  });

  it('goes to the provider that serves the path', async () => {
    const provider = store.openProvider('roof-app');
    const asked: unknown[] = [];
    provider.serve(['Vehicle.Roof'], async (path, value) => {
      asked.push([path, value]);
      provider.provide([{ path, value }]);
    });
    await expect(store.actuate('Vehicle.Roof', true)).resolves.toMatchObject({ value: true, source: 'roof-app' });
    expect(asked).toEqual([['Vehicle.Roof', true]]);
    const other = store.openProvider('other');
    expect(() => other.serve(['Vehicle.Roof'], async () => {})).toThrow(code(ErrorCode.AlreadyProvided));
    expect(() => other.serve(['Vehicle.Fan'], async () => {})).toThrow(code(ErrorCode.AlreadyProvided));
    expect(() => other.serve(['Vehicle.Speed'], async () => {})).toThrow(code(ErrorCode.NotAnActuator));
    provider.close();
    await expect(store.actuate('Vehicle.Roof', true)).rejects.toEqual(code(ErrorCode.NoActuationProvider));
    expect(store.get('Vehicle.Roof')).toMatchObject({ value: true, stale: true });
    other.serve(['Vehicle.Roof'], () => new Promise(() => {}));
    await expect(store.actuate('Vehicle.Roof', true, 10)).rejects.toEqual(code(ErrorCode.ActuationTimedOut));
  });

  it.each([
    ['{ signal: Nope }', 'no message of test.dbc has a signal Nope'],
    ['{ signal: Fan, message: Seats }', 'no message Seats has a signal Fan'],
    ['{ signal: Same }', 'Same is in Twice on can0, TwiceMore on can0; say which one with message'],
    ['{ signal: Fan, counter: { signal: Nope } }', 'counter: message Climate has no signal Nope'],
    ['{ signal: Fan, checksum: { signal: Warm, algorithm: xor } }', 'Warm has to be unsigned'],
    ['{ signal: Fan, acknowledge: { path: Vehicle.Gone } }', 'no mapping has dbc2vss for Vehicle.Gone'],
  ])('is refused when the mapping says %s', (target, message) => {
    expect(() => make(`Vehicle.A: { type: actuator, datatype: uint8, vss2dbc: ${target} }`)).toThrow(message);
  });

  it('finds the message that the mapping names', async () => {
    make('Vehicle.A: { type: actuator, datatype: uint8, vss2dbc: { signal: Same, message: TwiceMore } }');
    await store.actuate('Vehicle.A', 4);
    expect(bus.sent).toEqual([[4, 0]]);
  });
});

describe('providing', () => {
  const leaves = `
Vehicle.A: { datatype: uint8, ttl_ms: 30 }
Vehicle.B: { datatype: string, allowed: [UP, DOWN] }
Vehicle.C: { datatype: "string[]" }
`;
  let store: SignalStore;

  beforeEach(() => {
    store = new SignalStore([], parseVssTree(leaves, 'vss.yaml'));
    store.start();
    return () => store.stop();
  });

  it('takes values of the datatype, all or none, and stamps them', () => {
    const provider = store.openProvider('app');
    expect(store.paths()).toEqual(['Vehicle.A', 'Vehicle.B', 'Vehicle.C']);
    const bad = [
      { path: 'Vehicle.A', value: 1 },
      { path: 'Vehicle.B', value: 'SIDEWAYS' },
    ];
    expect(() => provider.provide(bad)).toThrow('Vehicle.B is one of UP, DOWN, not SIDEWAYS');
    expect(() => provider.provide([{ path: 'Vehicle.A', value: true }])).toThrow('Vehicle.A is a uint8, not a boolean');
    expect(() => provider.provide([{ path: 'Vehicle.D', value: 'x' }])).toThrow('no signal "Vehicle.D"');
    expect(store.withValue).toBe(0);
    provider.provide([{ path: 'Vehicle.A', value: 1, timeUs: 5 }]);
    expect(store.get('Vehicle.A')).toEqual({ path: 'Vehicle.A', value: 1, timeUs: 5, source: 'app', stale: false });
    provider.provide([{ path: 'Vehicle.A', value: 1, timeUs: Number.MAX_SAFE_INTEGER }]);
    expect(store.get('Vehicle.A')!.timeUs).toBeLessThanOrEqual(Date.now() * 1000);
  });

  it('is stale after the time to live of the leaf, or when the provider goes', async () => {
    const provider = store.openProvider('app');
    const stale: string[] = [];
    store.subscribe(new Set(store.paths()), (values) => {
      for (const value of values) if (value.stale) stale.push(value.path);
    });
    provider.provide([
      { path: 'Vehicle.A', value: 1 },
      { path: 'Vehicle.B', value: 'UP' },
    ]);
    while (stale.length === 0) await sleep(5);
    expect(stale).toEqual(['Vehicle.A']);
    provider.close();
    expect(stale).toEqual(['Vehicle.A', 'Vehicle.B']);
    store.openProvider('app').provide([{ path: 'Vehicle.B', value: 'DOWN' }]);
    expect(store.get('Vehicle.B')).toMatchObject({ value: 'DOWN', stale: false });
    expect(store.stale).toBe(1);
  });
});

describe('a frame that is sent', () => {
  const text = `BO_ 256 OVERLAP: 8 A
 SG_ Target : 0|8@1+ (1,0) [0|255] "" B
 SG_ Whole : 0|16@1+ (1,0) [0|0] "" B
BO_ 257 WIDE: 16 A
 SG_ Cmd : 0|8@1+ (1,0) [0|255] "" B
 SG_ Mac : 8|56@1+ (1,0) [0|0] "" B
 SG_ Long : 64|64@1- (1,0) [0|0] "" B
BO_ 258 FLOATS: 8 A
 SG_ On : 0|8@1+ (1,0) [0|255] "" B
 SG_ Single : 8|32@1- (1,0) [0|0] "" B
BO_ 259 GUARDED: 4 A
 SG_ Value : 4|8@1+ (1,0) [0|0] "" B
 SG_ Count : 8|4@1+ (1,0) [0|15] "" B
 SG_ Check : 24|8@1+ (1,0) [0|255] "" B
 SG_ Fine : 16|4@1+ (1,0) [0|0] "" B
BO_ 260 PAGES: 4 A
 SG_ Page M : 0|8@1+ (1,0) [0|3] "" B
 SG_ Sub M : 8|8@1+ (1,0) [0|3] "" B
 SG_ Deep m4 : 16|8@1+ (1,0) [0|0] "" B
 SG_ Flat m1 : 8|16@1+ (1,0) [0|0] "" B
 SG_ Bad m1 : 4|8@1+ (1,0) [0|0] "" B
BO_ 261 STARTV: 8 A
 SG_ On2 : 0|1@1+ (1,0) [0|1] "" B
 SG_ Run : 1|1@1+ (1,0) [0|1] "" B
SIG_VALTYPE_ 258 Single : 1;
SG_MUL_VAL_ 260 Sub Page 2-2;
SG_MUL_VAL_ 260 Deep Sub 4-4;
SG_MUL_VAL_ 260 Flat Page 1-1;
SG_MUL_VAL_ 260 Bad Page 1-1;
BA_DEF_ SG_ "GenSigStartValue" FLOAT 0 100000;
BA_ "GenSigStartValue" SG_ 261 Run 0.666666666666667;
`;
  const leaf = (name: string, more = '', datatype = 'uint64') =>
    `Vehicle.${name}: { type: actuator, datatype: ${datatype}, vss2dbc: { signal: ${name}${more} } }\n`;
  const paths =
    ['Target', 'Whole', 'Cmd', 'Mac', 'On', 'Deep', 'Flat', 'Bad', 'On2', 'Run', 'Fine']
      .map((name) => leaf(name))
      .join('') +
    leaf('Long', '', 'int64') +
    leaf('Value', ', counter: { signal: Count }') +
    'Vehicle.Checked: { type: actuator, datatype: uint8, vss2dbc: { signal: Fine, checksum: { signal: Check, algorithm: xor } } }\n';
  let bus: TestBus;
  let store: SignalStore;

  beforeEach(() => {
    bus = new TestBus();
    const router = new CanRouter(bus);
    router.start();
    const feeds = [{ router, dbcs: [parseDbc(text, 'sent.dbc')] }];
    store = new SignalStore(feeds, parseVssMapping(paths, 'map.yaml'));
    store.start();
    return () => store.stop();
  });

  it('has the bits of the target where another signal overlaps it, whatever was there', async () => {
    bus.put(256, 0x11, 0x22, 0x33, 0, 0, 0, 0, 0x44);
    await store.actuate('Vehicle.Target', 0xab);
    await store.actuate('Vehicle.Whole', 0x1234);
    await store.actuate('Vehicle.Target', 0);
    expect(bus.sent).toEqual([
      [0xab, 0x22, 0x33, 0, 0, 0, 0, 0x44],
      [0x34, 0x12, 0x33, 0, 0, 0, 0, 0x44],
      [0x00, 0x12, 0x33, 0, 0, 0, 0, 0x44],
    ]);
  });

  it('has the other signals bit by bit, however long they are', async () => {
    const mac = [0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    const long = [0x01, 0, 0, 0, 0, 0, 0, 0x80];
    bus.core.deliver(dataFrame(257, [9, ...mac, ...long], { fd: true }));
    await store.actuate('Vehicle.Cmd', 5);
    expect(bus.sent.at(-1)).toEqual([5, ...mac, ...long]);
    // 2^56 - 1 and -(2^63) + 1
    await store.actuate('Vehicle.Mac', 2n ** 56n - 1n);
    expect(bus.sent.at(-1)).toEqual([5, 255, 255, 255, 255, 255, 255, 255, ...long]);
    await store.actuate('Vehicle.Long', -(2n ** 63n) + 2n);
    expect(bus.sent.at(-1)!.slice(8)).toEqual([2, 0, 0, 0, 0, 0, 0, 0x80]);
    await expect(store.actuate('Vehicle.Mac', 2n ** 56n)).rejects.toMatchObject({ code: ErrorCode.SignalOutOfRange });
    expect(bus.sent).toHaveLength(3);
  });

  it('has a NaN of the bits that it had', async () => {
    // A signalling NaN, which reading as a float and writing back would make a quiet one.
    bus.put(258, 0, 0x01, 0x00, 0xa0, 0x7f, 7, 7, 7);
    await store.actuate('Vehicle.On', 1);
    expect(bus.sent).toEqual([[1, 0x01, 0x00, 0xa0, 0x7f, 7, 7, 7]]);
  });

  it('is refused, and nothing sent, where the counter, a checksum or the multiplexer has the bits of the target', async () => {
    for (const [path, other] of [
      ['Vehicle.Value', 'Count'],
      ['Vehicle.Bad', 'Page'],
    ] as const) {
      await expect(store.actuate(path, 1)).rejects.toMatchObject({ code: ErrorCode.SignalOverlap });
      await expect(store.actuate(path, 1)).rejects.toThrow(other);
      expect(() => store.checkActuation(path, 1)).toThrow(expect.objectContaining({ code: ErrorCode.SignalOverlap }));
      expect(store.warnings.filter((warning) => warning.includes(path))).toHaveLength(1);
    }
    expect(bus.sent).toEqual([]);
    await store.actuate('Vehicle.Checked', 3);
    expect(bus.sent).toEqual([[0, 0, 3, 3]]);
  });

  it('selects every level of a multiplexer, and repeats what nothing describes only on the same page', async () => {
    bus.put(260, 1, 0xaa, 0xbb, 0xcc);
    // Page 2 and Sub 4 select Deep; byte 3 of page 1 is not theirs.
    await store.actuate('Vehicle.Deep', 7);
    expect(bus.sent.at(-1)).toEqual([2, 4, 7, 0]);
    bus.put(260, 2, 4, 8, 0xdd);
    await store.actuate('Vehicle.Deep', 9);
    expect(bus.sent.at(-1)).toEqual([2, 4, 9, 0xdd]);
    await store.actuate('Vehicle.Flat', 0x1234);
    expect(bus.sent.at(-1)).toEqual([1, 0x34, 0x12, 0]);
  });

  it('is sent although a start value beside it does not fit', async () => {
    await store.actuate('Vehicle.On2', 1);
    expect(bus.sent).toEqual([[1, 0, 0, 0, 0, 0, 0, 0]]);
  });
});
