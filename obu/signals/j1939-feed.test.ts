/** J1939 from a bus to signals and back, with the userspace bus. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ErrorCode } from '../../shared/base/errors.ts';
import { silentLog } from '../../shared/base/log.ts';
import { formatFrame, parseFrameText } from '../../shared/can/candump.ts';
import { UserspaceBus } from '../../shared/can/userspace/userspace-bus.ts';
import { UserspaceBusServer } from '../../shared/can/userspace/userspace-server.ts';
import { parseDbc } from '../../shared/dbc/parser/dbc-parser.ts';
import { parseVssMapping } from '../../shared/vss/vss-mapping.ts';
import { CanRouter } from '../can/router.ts';
import { SignalStore } from './signal-store.ts';

/**
 * EEC1 as in J1939-71 (SPN 190 in bytes 4 and 5, 0.125 rpm a bit), TSC1 to the engine (SPN 695 in bits 1 and 2, SPN 898
 * in bytes 2 and 3), 20 bytes of a component's identification (SPN 586), a proprietary message to one address.
 */
const dbc = parseDbc(
  `BU_: A
BO_ 2364540158 EEC1: 8 A
 SG_ EngTorqueMode : 0|4@1+ (1,0) [0|15] "" A
 SG_ EngSpeed : 24|16@1+ (0.125,0) [0|0] "rpm" A
 SG_ StarterMode : 48|4@1+ (1,0) [0|0] "" A
BO_ 2348810494 TSC1: 8 A
 SG_ OverrideMode : 0|2@1+ (1,0) [0|3] "" A
 SG_ Priority : 4|2@1+ (1,0) [0|3] "" A
 SG_ RequestedSpeed : 8|16@1+ (0.125,0) [0|8031.875] "rpm" A
BO_ 2566843390 CI: 20 A
 SG_ Byte1 : 0|8@1+ (1,0) [0|255] "" A
 SG_ Byte16to17 : 120|16@1+ (1,0) [0|65535] "" A
 SG_ Byte20 : 152|8@1+ (1,0) [0|255] "" A
BO_ 2565800190 PropA: 15 A
 SG_ Tail : 112|8@1+ (1,0) [0|255] "" A
BO_ 100 Plain: 8 A
 SG_ PlainByte : 0|8@1+ (1,0) [0|255] "" A
VAL_ 2348810494 Priority 3 "Low priority" 2 "Medium priority" 1 "High priority" 0 "Highest priority" ;
VAL_ 2364540158 StarterMode 15 "Not available" 14 "Error" 13 "Reserved for now" 3 "Finished" ;
BA_DEF_ BO_ "VFrameFormat" ENUM "StandardCAN","ExtendedCAN","reserved","J1939PG";
BA_DEF_DEF_ "VFrameFormat" "J1939PG";
`,
  'j1939.dbc',
);

const mapping = `
Vehicle.Rpm: { datatype: float, dbc2vss: { signal: EngSpeed, interval_ms: 0 } }
Vehicle.Mode: { datatype: uint8, dbc2vss: { signal: EngTorqueMode, interval_ms: 0 } }
Vehicle.Starter: { datatype: string, dbc2vss: { signal: StarterMode, interval_ms: 0 } }
Vehicle.Override: { datatype: uint8, dbc2vss: { signal: OverrideMode, interval_ms: 0 } }
Vehicle.Priority: { datatype: string, dbc2vss: { signal: Priority, interval_ms: 0 } }
Vehicle.First: { datatype: uint8, dbc2vss: { signal: Byte1, interval_ms: 0 } }
Vehicle.Middle: { datatype: uint16, dbc2vss: { signal: Byte16to17, interval_ms: 0 } }
Vehicle.Last: { datatype: uint8, dbc2vss: { signal: Byte20, interval_ms: 0 } }
Vehicle.Tail: { datatype: uint8, dbc2vss: { signal: Tail, interval_ms: 0 } }
Vehicle.Plain: { datatype: uint8, dbc2vss: { signal: PlainByte, interval_ms: 0 } }
Vehicle.Wanted: { type: actuator, datatype: float, vss2dbc: { signal: RequestedSpeed } }
Vehicle.WantedByUs: { type: actuator, datatype: float, vss2dbc: { signal: RequestedSpeed, source_address: 39, destination_address: 0 } }
`;

let closing: (() => unknown)[];
let store: SignalStore;
let car: UserspaceBus;
let seen: string[];

beforeEach(async () => {
  closing = [];
  const folder = await mkdtemp(join(tmpdir(), 'kerb-j1939-'));
  closing.push(() => rm(folder, { recursive: true }));
  const socketPath = join(folder, 'bus.sock');
  const server = new UserspaceBusServer({ socketPath, name: 'can0', log: silentLog() });
  await server.start();
  closing.push(() => server.stop());
  const join_ = async (client: string) => {
    const bus = new UserspaceBus({ name: 'can0', socketPath, client, log: silentLog() });
    await bus.start();
    closing.push(() => bus.stop());
    return bus;
  };
  car = await join_('car');
  seen = [];
  car.subscribe((frame) => seen.push(formatFrame(frame)));
  const router = new CanRouter(await join_('obu'));
  router.start();
  store = new SignalStore([{ router, dbcs: [dbc] }], parseVssMapping(mapping, 'x.yaml'));
  store.start();
});

afterEach(async () => {
  store.stop();
  for (const close of closing.reverse()) await close();
});

const datumOf = (path: string) => store.get(path)?.value;

/** Sends frames, and one of another message behind them, so that it is known when they have been taken. */
let marker = 0;
async function hear(...texts: string[]) {
  marker = (marker + 1) % 256;
  for (const text of texts) car.send(parseFrameText(text));
  car.send(parseFrameText(`064#${marker.toString(16).padStart(2, '0')}`));
  await expect.poll(() => datumOf('Vehicle.Plain'), { timeout: 10_000 }).toBe(marker);
}

describe('messages', () => {
  it('match by PGN, whoever sends them and with whatever priority', async () => {
    await hear('0CF00400#FFFFFF401FFFFFFF'); // 1F40 = 8000
    expect(datumOf('Vehicle.Rpm')).toBe(1000);
    await hear('18F00417#FFFFFF803EFFFFFF'); // 3E80 = 16000
    expect(datumOf('Vehicle.Rpm')).toBe(2000);
    await hear('0CF00300#FFFFFF401FFFFFFF', '0DF00400#FFFFFF401FFFFFFF', '004#FFFFFF401FFFFFFF', '0CF00400#R8');
    expect(datumOf('Vehicle.Rpm')).toBe(2000);
    await hear('0C000B03#FDFFFFFFFFFFFFFF'); // TSC1 to another: 01
    expect(datumOf('Vehicle.Override')).toBe(1);
  });

  it('have no value where they say error or not available, by the length of the parameter', async () => {
    await hear('0CF00400#F1FFFF401FFFF3FF');
    expect([datumOf('Vehicle.Rpm'), datumOf('Vehicle.Mode')]).toEqual([1000, 1]);
    for (const data of ['FFFFFFFFFFFFFFFF', 'FEFFFF00FFFFFEFF', 'FFFFFFFFFEFFFFFF', 'FEFFFF00FEFFFEFF']) {
      await hear(`0CF00400#${data}`);
    }
    expect([datumOf('Vehicle.Rpm'), datumOf('Vehicle.Mode')]).toEqual([1000, 1]);
    expect(datumOf('Vehicle.Starter')).toBe('Finished');
    await hear('0CF00400#FDFFFFFFFDFFF3FF'); // just below: FDFF, D
    expect([datumOf('Vehicle.Rpm'), datumOf('Vehicle.Mode')]).toEqual([0xfdff * 0.125, 13]);
    await hear('0C000003#FDFFFFFFFFFFFFFF', '0C000003#FEFFFFFFFFFFFFFF', '0C000003#FFFFFFFFFFFFFFFF');
    expect(datumOf('Vehicle.Override')).toBe(1);
    // A value that the database names otherwise is one, for all its ones.
    expect(datumOf('Vehicle.Priority')).toBe('Low priority');
  });

  it('of several frames come together, from a broadcast and from one to another', async () => {
    await hear('1CECFF00#20140003FFEBFE00', '1CEBFF00#0111020304050607', '1CEBFF00#0208090A0B0C0D0E');
    expect(datumOf('Vehicle.First')).toBeUndefined();
    await hear('1CEBFF00#030F2010121344FF');
    expect([datumOf('Vehicle.First'), datumOf('Vehicle.Middle'), datumOf('Vehicle.Last')]).toEqual([
      0x11, 0x1020, 0x44,
    ]);
    await hear('1CEC0521#100F0003FF00EF00', '1CEC2105#110301FFFF00EF00');
    await hear('1CEB0521#0101010101010101', '1CEB0521#0202020202020202', '1CEB0521#0355FFFFFFFFFFFF');
    expect(datumOf('Vehicle.Tail')).toBe(0x55);
    // The OBU has said nothing on the bus.
    expect(seen).toEqual([]);
  });
});

describe('actuating', () => {
  it('sends a classical frame that leaves all else as it is, with the addresses of the mapping or the database', async () => {
    await store.actuate('Vehicle.Wanted', 1000);
    await store.actuate('Vehicle.WantedByUs', 2000);
    await expect.poll(() => seen.length, { timeout: 10_000 }).toBe(2);
    // 1000 / 0.125 = 8000 = 1F40. Not available: what nobody set, and what nobody describes.
    expect(seen).toEqual(['0C0000FE#FF401FFFFFFFFFFF', '0C000027#FF803EFFFFFFFFFF']);
  });

  it.each([
    ['a message of several frames', 'vss2dbc: { signal: Byte1 }'],
    ['addresses where there are none', 'vss2dbc: { signal: PlainByte, source_address: 5 }'],
  ])('refuses %s', (_, target) => {
    const leaves = parseVssMapping(`Vehicle.X: { type: actuator, datatype: uint8, ${target} }`, 'x.yaml');
    const other = new SignalStore([{ router: new CanRouter(car), dbcs: [dbc] }], leaves);
    expect(() => other.start()).toThrow(expect.objectContaining({ code: ErrorCode.BadSignalMapping }));
  });

  it.each(['source_address: 254', 'source_address: -1', 'destination_address: 256', 'source_address: A'])(
    'knows no address %s',
    (address) => {
      const source = `Vehicle.X: { type: actuator, datatype: uint8, vss2dbc: { signal: RequestedSpeed, ${address} } }`;
      expect(() => parseVssMapping(source, 'x.yaml')).toThrow(
        expect.objectContaining({ code: ErrorCode.BadSignalMapping }),
      );
    },
  );
});
