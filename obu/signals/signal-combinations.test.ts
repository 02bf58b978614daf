/**
 * Kinds of signals that meet: J1939 with long names, extended multiplexing and overlaps, integers of many digits with
 * limits. Values are worked out by hand.
 */
import { describe, expect, it } from 'vitest';
import { formatFrame, parseFrameText } from '../../shared/can/candump.ts';
import { compileMessage } from '../../shared/dbc/message-codec.ts';
import { parseDbc } from '../../shared/dbc/parser/dbc-parser.ts';
import { parseVssMapping } from '../../shared/vss/vss-mapping.ts';
import { HandBus } from '../../test/support/gateway-parts.ts';
import { CanRouter } from '../can/router.ts';
import { SignalStore } from './signal-store.ts';

function open(dbc: string, mapping: string) {
  const bus = new HandBus();
  const router = new CanRouter(bus);
  router.start();
  const parsed = parseDbc(dbc, 'x.dbc');
  const store = new SignalStore([{ router, dbcs: [parsed] }], parseVssMapping(mapping, 'x.yaml'));
  store.start();
  const put = (text: string) => {
    for (const listener of bus.listeners) listener(parseFrameText(text));
  };
  const sent = () => bus.sent.map(formatFrame);
  return { store, put, sent, warnings: parsed.warnings, value: (path: string) => store.get(path)?.value };
}

/** Proprietary B, PGN FF10, from anybody: CELL is in pages 1.2 only, PART and WHOLE share a byte. */
const dbc = `BO_ 2566852862 PROP_B_0001: 8 A
 SG_ MODE M : 0|8@1+ (1,0) [0|0] "" A
 SG_ SUB_PAGE_0001 m1M : 8|8@1+ (1,0) [0|0] "" A
 SG_ CELL_VOLTAGE_0001 m2 : 16|16@1+ (0.001,0) [0|64.255] "V" A
 SG_ PART : 48|8@1+ (1,0) [0|250] "" A
 SG_ WHOLE : 48|16@1+ (1,0) [0|0] "" A
BA_DEF_ BO_ "VFrameFormat" ENUM "StandardCAN","ExtendedCAN","reserved","J1939PG";
BA_DEF_ BO_ "SystemMessageLongSymbol" STRING ;
BA_DEF_ SG_ "SystemSignalLongSymbol" STRING ;
BA_DEF_DEF_ "VFrameFormat" "J1939PG";
BA_DEF_DEF_ "SystemMessageLongSymbol" "";
BA_DEF_DEF_ "SystemSignalLongSymbol" "";
BA_ "SystemMessageLongSymbol" BO_ 2566852862 "ProprietaryBatteryMessageOfTheSecondString";
BA_ "SystemSignalLongSymbol" SG_ 2566852862 SUB_PAGE_0001 "SubPageOfTheProprietaryBatteryMessage";
BA_ "SystemSignalLongSymbol" SG_ 2566852862 CELL_VOLTAGE_0001 "CellVoltageOfTheSecondStringOfTheBattery";
SG_MUL_VAL_ 2566852862 SUB_PAGE_0001 MODE 1-1;
SG_MUL_VAL_ 2566852862 CELL_VOLTAGE_0001 SUB_PAGE_0001 2-2;
`;
const cell = 'signal: CellVoltageOfTheSecondStringOfTheBattery';
const mapping = `
V.Cell: { datatype: double, dbc2vss: { ${cell}, interval_ms: 0, multiplexer: [{ signal: SubPageOfTheProprietaryBatteryMessage, value: 2 }] } }
V.Short: { datatype: double, dbc2vss: { signal: CELL_VOLTAGE_0001, interval_ms: 0 } }
V.Set: { type: actuator, datatype: double, vss2dbc: { ${cell}, message: ProprietaryBatteryMessageOfTheSecondString, source_address: 39 } }
V.Part: { type: actuator, datatype: uint8, vss2dbc: { signal: PART } }
V.Whole: { datatype: uint16, dbc2vss: { signal: WHOLE, interval_ms: 0 } }
`;

describe('a J1939 message with long names, pages in pages and an overlap', () => {
  it('gives a value from any sender, by either name, in its own page only', () => {
    const { put, value, store, warnings } = open(dbc, mapping);
    expect(warnings).toEqual([]);
    // The same bits in other pages: mode 0, and sub-page 3 of mode 1.
    for (const other of ['0002E803', '0103E803']) put(`18FF1021#${other}FFFFFFFF`);
    expect(value('V.Cell')).toBeUndefined();
    expect(store.whyNone('V.Cell')).toContain('ProprietaryBatteryMessageOfTheSecondString');
    put('0CFF1021#0102E803FFFFFFFF'); // 03E8 = 1000
    expect([value('V.Cell'), value('V.Short')]).toEqual([1, 1]);
    // "Not available" and "error" of 16 bits: FFFF and FE00. FAFF is the largest value there is.
    for (const none of ['FFFF', '00FE']) put(`18FF1055#0102${none}FFFFFFFF`);
    expect(value('V.Cell')).toBe(1);
    put('18FF1055#0102FFFAFFFFFFFF');
    expect(value('V.Cell')).toBeCloseTo(64.255, 9);
  });

  it('is not matched as a CAN FD frame, nor as another PGN', () => {
    const { put, value } = open(dbc, mapping);
    put('18FF1021##00102E803FFFFFFFF');
    put('18FF1121#0102E803FFFFFFFF');
    expect(value('V.Cell')).toBeUndefined();
  });

  it('is sent with its pages selected and all that nobody knows as "not available"', async () => {
    const { store, sent } = open(dbc, mapping);
    await store.actuate('V.Set', 0.5); // 500 = 01F4
    expect(sent()).toEqual(['18FF1027#0102F401FFFFFFFF']);
  });

  it('keeps what the bus has said, and the bits of the target win over the signal that it overlaps', async () => {
    const { store, put, sent } = open(dbc, mapping);
    put('18FF1021#0102E803AABB3412');
    await store.actuate('V.Part', 7);
    expect(sent()).toEqual(['18FF10FE#0102E803AABB0712']);
    await store.actuate('V.Set', 0.5);
    expect(sent()[1]).toBe('18FF1027#0102F401AABB0712');
  });
});

describe('multiplexers of one name in groups that exclude each other', () => {
  it('select together what depends on that name', () => {
    const { messages, warnings } = parseDbc(
      `BO_ 100 M: 8 A
 SG_ X M : 0|4@1+ (1,0) [0|0] "" A
 SG_ Y m0M : 4|4@1+ (1,0) [0|0] "" A
 SG_ Y m1M : 8|4@1+ (1,0) [0|0] "" A
 SG_ P m3 : 16|8@1+ (1,0) [0|0] "" A
SG_MUL_VAL_ 100 P Y 3-3;
SG_MUL_VAL_ 100 Y X 0-0, 1-1;
`,
      'x.dbc',
    );
    expect(warnings).toEqual([]);
    const codec = compileMessage(messages[0]!);
    const decoded = (...bytes: number[]) => codec.decode(Uint8Array.from([...bytes, 0, 0, 0, 0, 0]));
    expect(decoded(0x30, 0x00, 9).get('P')).toBe(9);
    expect(decoded(0x01, 0x03, 9).get('P')).toBe(9);
    expect(decoded(0x31, 0x00, 9).has('P')).toBe(false);
    expect(decoded(0x00, 0x03, 9).has('P')).toBe(false);
    expect(decoded(0x32, 0x03, 9).has('P')).toBe(false);
  });
});

describe('limits beyond 2^53', () => {
  const most = 2n ** 53n + 1n;
  const source = (max: string) => `BO_ 1 M: 8 A\n SG_ S : 0|64@1+ (1,0) [0|${max}] "" A\n`;
  const path = `V.S: { type: actuator, datatype: uint64, dbc2vss: { signal: S, interval_ms: 0 }, vss2dbc: { signal: S } }`;

  it('let the value through that they name, although a double rounds them', () => {
    const { put, value } = open(source(`${most}`), path);
    put('001#0100000000002000');
    expect(value('V.S')).toBe(most);
    put('001#0300000000002000');
    expect(value('V.S')).toBe(most);
    const codec = compileMessage(parseDbc(source(`${most}`), 'x.dbc').messages[0]!);
    expect(codec.encode({ S: most })).toEqual(Uint8Array.from([1, 0, 0, 0, 0, 0, 0x20, 0]));
    expect(() => codec.encode({ S: 2n ** 54n })).toThrow();
  });
});

describe('numbers that are too large for a double', () => {
  it('cost the signal that they scale, and a start value that no float of its size holds is not taken', () => {
    const { messages, warnings } = parseDbc(
      `BO_ 1 M: 8 A
 SG_ S : 0|8@1+ (1e400,0) [0|0] "" A
 SG_ H : 8|16@1- (1,0) [0|0] "" A
 SG_ F : 24|32@1- (1,0) [0|0] "" A
BA_DEF_ SG_ "GenSigStartValue" FLOAT 0 1e300;
BA_ "GenSigStartValue" SG_ 1 H 65505;
BA_ "GenSigStartValue" SG_ 1 F 65505;
SIG_VALTYPE_ 1 H : 1;
SIG_VALTYPE_ 1 F : 1;
`,
      'x.dbc',
    );
    expect(messages[0]!.signals.map(({ name, startRaw }) => [name, startRaw])).toEqual([
      ['H', 0],
      ['F', 65505],
    ]);
    expect(warnings.map((line) => line.split(':')[1])).toEqual(['2', '6']);
  });
});
