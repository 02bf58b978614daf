import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, it } from 'vitest';
import { BusCore } from '../../shared/can/bus-core.ts';
import type { CanFrame } from '../../shared/can/frame.ts';
import type { Dbc } from '../../shared/dbc/dbc.ts';
import { compileMessage, type MessageCodec } from '../../shared/dbc/message-codec.ts';
import { loadDbc } from '../../shared/dbc/parser/dbc-parser.ts';
import { loadVssMapping } from '../../shared/vss/vss-mapping.ts';
import { describeWhere } from '../../test/support/machine/not-run.ts';
import { CanRouter } from '../can/router.ts';
import { checkDefaults, loadDefaults } from './default-values.ts';
import { SignalStore } from './signal-store.ts';

// A real car's database, which lies beside the checkout where it is developed. Values were worked out by hand from the
// layout; the arithmetic stands with each.
const data = join(import.meta.dirname, '..', '..', '..', 'shared', 'data', 'can');
const present = existsSync(join(data, 'Model3CAN.dbc'));

describeWhere(present ? undefined : `${data} is not there`, 'Model3CAN.dbc', () => {
  let dbc: Dbc;
  const codec = (id: number): MessageCodec => compileMessage(dbc.messages.find((message) => message.id === id)!);
  const decode = (id: number, bytes: number[]) => codec(id).decode(Uint8Array.from(bytes));

  beforeAll(async () => {
    dbc = await loadDbc(join(data, 'Model3CAN.dbc'));
  });

  it('is read whole', () => {
    // Counted with grep: 159 lines begin with "BO_ ", 2752 with " SG_ "; 930 value tables.
    expect(dbc.messages.length).toBe(159);
    expect(dbc.messages.reduce((sum, { signals }) => sum + signals.length, 0)).toBe(2752);
    const labelled = dbc.messages.flatMap(({ signals }) => signals).filter(({ labels }) => labels.size > 0);
    expect(labelled.length).toBe(930);
    expect(dbc.warnings).toEqual([]);
    expect(dbc.nodes).toEqual(['Receiver', 'ChassisBus', 'VehicleBus', 'PartyBus']);
    expect(dbc.messages.find(({ id }) => id === 297)).toMatchObject({ name: 'ID129SteeringAngle', cycleMs: 10 });
  });

  it('decodes little-endian signals with scale and offset', () => {
    const values = decode(297, [0, 0, 0x34, 0x25, 0x00, 0x20, 0, 0]);
    // SteeringAngle129 16|14@1+ (0.1,-819.2): bytes 2 and 3 are 2534 hex, 14 bits of it 2534 hex = 9524;
    // 9524 * 0.1 - 819.2 = 133.2
    expect(values.get('SteeringAngle129')).toBeCloseTo(133.2, 9);
    // SteeringSpeed129 32|14@1+ (0.5,-4096): 2000 hex = 8192; 8192 * 0.5 - 4096 = 0
    expect(values.get('SteeringSpeed129')).toBe(0);
  });

  it('decodes signed signals, also across bytes', () => {
    // RCM_yawRate 0|16@1- (0.0001,0): FC18 hex = 64536, minus 65536 = -1000; * 0.0001 = -0.1
    // RCM_pitchRate 16|15@1- (0.00025,0): byte 2 = 00, low seven bits of byte 3 = 40 hex: 4000 hex = 16384, the sign
    //   bit of 15, so 16384 - 32768 = -16384; * 0.00025 = -4.096
    // RCM_rollRate 31|15@1- (0.00025,0): bit 31 (top of byte 3) = 0 is the lowest; byte 4 = FF and the low six bits of
    //   byte 5 = 3F follow: 0 + 2 * 3FFF hex = 32766, minus 32768 = -2; * 0.00025 = -0.0005
    const values = decode(257, [0x18, 0xfc, 0x00, 0x40, 0xff, 0x3f, 0, 0]);
    expect(values.get('RCM_yawRate')).toBeCloseTo(-0.1, 12);
    expect(values.get('RCM_pitchRate')).toBeCloseTo(-4.096, 12);
    expect(values.get('RCM_rollRate')).toBeCloseTo(-0.0005, 12);
  });

  it('decodes big-endian signals', () => {
    // UnixTimeSeconds528 7|32@0+: bytes in the order of the wire: 65 53 F1 80 hex
    // = 101 * 2^24 + 83 * 2^16 + 241 * 2^8 + 128 = 1694498816 + 5439488 + 61696 + 128 = 1700000128
    expect(decode(1320, [0x65, 0x53, 0xf1, 0x80]).get('UnixTimeSeconds528')).toBe(1700000128);
    // GTW_bmpState 7|8@0+ is byte 0
    const bmp = codec(275);
    expect(bmp.signal('GTW_bmpState').rawOf(Uint8Array.of(5, 0, 0))).toBe(5);
    expect(bmp.signal('GTW_bmpState').signal.labels.get(5)).toBe('BMP_STATE_POWER_CYCLE');
  });

  it('decodes multiplexed signals of the selected group and no others', () => {
    // VCLEFT_liftgateStatusIndex 0|2@1+ = 1 selects group 1.
    // VCLEFT_liftgatePosition m1 21|7@1- (1,46): bits 5..7 of byte 2 (40 hex: 010) and the low nibble of byte 3 (F):
    //   1111 010 binary = 122, minus 128 = -6; + 46 = 40
    // VCLEFT_liftgateSpeed m1 28|10@1- (0.1,0): the high nibble of byte 3 (4) and the low six bits of byte 4 (06):
    //   6 * 16 + 4 = 100; * 0.1 = 10
    const values = decode(322, [0x01, 0, 0x40, 0x4f, 0x06, 0, 0, 0]);
    expect(values.get('VCLEFT_liftgatePosition')).toBe(40);
    expect(values.get('VCLEFT_liftgateSpeed')).toBeCloseTo(10, 12);
    expect(values.has('VCLEFT_liftgateState')).toBe(false);
    const other = decode(322, [0x00, 0, 0x40, 0x4f, 0x06, 0, 0, 0]);
    expect(other.has('VCLEFT_liftgateState')).toBe(true);
    expect(other.has('VCLEFT_liftgatePosition')).toBe(false);
  });

  it('decodes 56 bits, exactly', () => {
    // DIR_appGitHash m17 8|56@1+: bytes 1..7, least significant first. Byte 5 = 1 is 2^32.
    expect(decode(821, [17, 0, 0, 0, 0, 1, 0, 0]).get('DIR_appGitHash')).toBe(4294967296);
    // Byte 7 = 80 hex is 2^55, byte 1 = 1: 2^55 + 1 has 56 bits, which no double holds.
    expect(decode(821, [17, 1, 0, 0, 0, 0, 0, 0x80]).get('DIR_appGitHash')).toBe(2n ** 55n + 1n);
  });

  it('finds the name of a negative value that the file writes by its bits', () => {
    // VAL_ 130 UI_predictedEnergy 32768 "SNA": 16 bits, signed, so 8000 hex is -32768.
    const energy = codec(130).signal('UI_predictedEnergy');
    expect(energy.signal.labels.get(energy.rawOf(Uint8Array.of(0, 0, 0x00, 0x80, 0, 0, 0, 0)))).toBe('SNA');
  });

  it('encodes what it decodes, for every message', () => {
    for (const message of dbc.messages) {
      const compiled = compileMessage(message);
      const bytes = compiled.encode({});
      for (const signal of compiled.signals) {
        if (signal.isPresent(bytes)) expect(signal.rawOf(bytes), signal.signal.name).toBe(signal.signal.startRaw);
      }
    }
  });

  it('feeds the paths of the mapping files of Kuksa, JSON tree and overlay alike', async () => {
    const router = new CanRouter({
      name: 'can0',
      kind: 'userspace',
      start: async () => undefined,
      stop: async () => undefined,
      send: () => undefined,
      subscribe: () => () => undefined,
      onState: () => () => undefined,
      state: { state: 'Up' },
      stats: { framesReceived: 0, framesSent: 0, framesDropped: 0, errorFrames: 0, bits: 0 },
    });
    const tree = await loadVssMapping(join(data, 'vss_dbc.json'));
    const overlay = await loadVssMapping(join(data, 'dbc_overlay.vspec'));
    const plain = (mappings: typeof tree) =>
      mappings.map(({ path, info, feed, target }) => ({
        path,
        datatype: info.datatype,
        signal: feed?.signal,
        intervalMs: feed?.intervalMs,
        target: target?.signal,
      }));
    expect(plain(tree)).toEqual(plain(overlay));
    expect(tree.length).toBe(35);
    const store = new SignalStore([{ router, dbcs: [dbc] }], tree);
    store.start();
    expect(store.paths()).toContain('Vehicle.Speed');
    // transform.math of these files: floor(x+0.5), and (2 V * 40) - 100 = -20 %.
    const byPath = new Map(tree.map(({ path, feed }) => [path, feed]));
    expect(byPath.get('Vehicle.Chassis.SteeringWheel.Angle')?.convert(133.2, undefined)).toBe(133);
    expect(byPath.get('Vehicle.Body.Mirrors.DriverSide.Tilt')?.convert(2, undefined)).toBe(-20);
    expect(byPath.get('Vehicle.Powertrain.Transmission.CurrentGear')?.convert(2, 'DI_GEAR_R')).toBe(-1);
    expect(byPath.get('Vehicle.Powertrain.Transmission.CurrentGear')?.convert(9, undefined)).toBeUndefined();
    store.stop();
  });

  it("sets a mirror of Kuksa's mapping, with its default values for the other signals", async () => {
    const sent: CanFrame[] = [];
    const core = new BusCore();
    const router = new CanRouter({
      name: 'can0',
      kind: 'userspace',
      state: { state: 'Up' },
      stats: core.stats,
      start: async () => undefined,
      stop: async () => undefined,
      send: (frame) => {
        sent.push(frame);
        queueMicrotask(() => core.deliver(frame));
      },
      subscribe: (listener) => core.subscribe(listener),
      onState: () => () => undefined,
    });
    router.start();
    const tree = await loadVssMapping(join(data, 'vss_dbc.json'));
    expect(tree.filter(({ target }) => target !== undefined).map(({ path }) => path)).toEqual([
      'Vehicle.Body.Mirrors.DriverSide.Pan',
      'Vehicle.Body.Mirrors.DriverSide.Tilt',
      'Vehicle.Body.Trunk.Rear.IsOpen',
    ]);
    const loaded = new Map(await loadDefaults(join(data, 'dbc_default_values.json')));
    expect(checkDefaults(loaded, [dbc])).toEqual([]);
    const defaults = new Map([...loaded].map(([signal, { value }]) => [signal, value]));
    const store = new SignalStore([{ router, dbcs: [dbc] }], tree, { defaults });
    store.start();
    // (20 % + 100) / 40 = 3 V; at 0.02 V that is raw 150.
    const done = await store.actuate('Vehicle.Body.Mirrors.DriverSide.Tilt', 20);
    expect(done).toMatchObject({ value: 20, source: 'can0' });
    const values = codec(258).decode(sent[0]!.data);
    expect(values.get('VCLEFT_mirrorTiltYPosition')).toBe(3);
    expect(values.get('VCLEFT_mirrorHeatState')).toBe(2);
    await expect(store.actuate('Vehicle.Body.Mirrors.DriverSide.Tilt', 101)).rejects.toThrow('is at most 100');
    await store.actuate('Vehicle.Body.Trunk.Rear.IsOpen', true);
    // VAL_ 259: 1 is LATCH_OPENED.
    expect(codec(259).decode(sent[1]!.data).get('VCRIGHT_trunkLatchStatus')).toBe(1);
    store.stop();
  });
});
