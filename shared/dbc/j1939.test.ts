import { describe, expect, it } from 'vitest';
import { compileFilters } from '../can/filter.ts';
import { dataFrame, remoteFrame } from '../can/frame.ts';
import { destinationOf, PgnTable, pgnFilter, pgnOf, sourceOf, withAddresses } from './j1939.ts';
import { parseDbc } from './parser/dbc-parser.ts';

// J1939-21, 5.2: EEC1 (PGN 61444, F004) is for all; TSC1 (PGN 0) is for one; a request (PGN 59904, EA00) too.
const EEC1 = 0x0cf00400;
const TSC1 = 0x0c000027;
const REQUEST = 0x18eaff21;

describe('identifiers', () => {
  it.each([
    [EEC1, 61444, 0x00, 0xff],
    [TSC1, 0, 0x27, 0x00],
    [REQUEST, 59904, 0x21, 0xff],
    [0x18fef100, 65265, 0x00, 0xff],
    // Data page 1, and both pages.
    [0x19f00417, 0x1f004, 0x17, 0xff],
    [0x1bef2233, 0x3ef00, 0x33, 0x22],
  ])('%i has PGN %i, source %i, destination %i', (id, pgn, source, destination) => {
    expect([pgnOf(id), sourceOf(id), destinationOf(id)]).toEqual([pgn, source, destination]);
  });

  it('get other addresses, a destination only where there is one', () => {
    expect(withAddresses(EEC1, 0x27, 0x05)).toBe(0x0cf00427);
    expect(withAddresses(TSC1, 0xf9, 0x03)).toBe(0x0c0003f9);
    expect(withAddresses(TSC1, undefined, 0xff)).toBe(0x0c00ff27);
    expect(withAddresses(TSC1, 0x01)).toBe(0x0c000001);
  });

  it('pass the filter of their PGN, whatever their priority and addresses, and nothing else does', () => {
    const eec1 = compileFilters([pgnFilter(61444)]);
    for (const id of [EEC1, 0x00f00417, 0x1cf004fe]) expect(eec1(dataFrame(id, []))).toBe(true);
    for (const id of [0x0cf00300, 0x0df00400, 0x0ef00400, 0x404]) expect(eec1(dataFrame(id, []))).toBe(false);
    expect(eec1(remoteFrame(EEC1))).toBe(false);
    const tsc1 = compileFilters([pgnFilter(0)]);
    for (const id of [TSC1, 0x0c00ff03, 0x0000_0000 + 0x800]) expect(tsc1(dataFrame(id, [], { ext: true }))).toBe(true);
    for (const id of [0x0c010027, 0x0d000027]) expect(tsc1(dataFrame(id, []))).toBe(false);
    expect(tsc1(dataFrame(0, [], { ext: false }))).toBe(false);
  });
});

describe('PgnTable', () => {
  const tableOf = (...ids: number[]) => {
    const table = new PgnTable<number>();
    for (const id of ids) table.add(id, id);
    return table;
  };

  it('takes one message of a PGN for all frames of it', () => {
    const table = tableOf(EEC1, TSC1);
    for (const id of [EEC1, 0x18f00417, 0x0cf004fe]) expect(table.get(id)).toBe(EEC1);
    for (const id of [TSC1, 0x0c030b03, 0x0c000b03]) expect(table.get(id)).toBe(pgnOf(id) === 0 ? TSC1 : undefined);
    expect(table.get(0x0cf00300)).toBeUndefined();
  });

  it('tells messages of one PGN apart by the address in which they differ', () => {
    const left = 0x18fefc33;
    const right = 0x18fefc34;
    const table = tableOf(left, right);
    expect([0x18fefc33, 0x0cfefc34, 0x18fefc35].map((id) => table.get(id))).toEqual([left, right, undefined]);
    const any = 0x18fefcfe;
    expect(tableOf(left, any).get(0x18fefc35)).toBe(any);
    expect(tableOf(any, left).get(left)).toBe(left);
    // Same source, other destinations: then the source is masked out.
    const [toEngine, toAll] = [0x0c000027, 0x0c00ff27];
    expect([0x0c000003, 0x0c000b03, 0x0c00ff03].map((id) => tableOf(toEngine, toAll).get(id))).toEqual([
      ...[toEngine, toAll, toAll],
    ]);
  });

  it('finds what has the same PGN and addresses', () => {
    expect(tableOf(EEC1).same(0x18f00400)).toBe(EEC1);
    expect(tableOf(EEC1).same(0x0cf00401)).toBeUndefined();
  });

  it('remembers only so many identifiers, and stays right', () => {
    const table = tableOf(EEC1, TSC1);
    for (let id = 0; id < 20_000; id++) table.get(0x18000000 + id * 37);
    expect(table.get(0x18f00417)).toBe(EEC1);
  });
});

describe('what a file says of its messages', () => {
  const messages = (rest: string) =>
    parseDbc(
      `BU_: A
BO_ 2364540158 EEC1: 8 A
 SG_ EngSpeed : 24|16@1+ (0.125,0) [0|8031.875] "rpm" A
BO_ 2566844926 VIN: 39 A
 SG_ First : 0|8@1+ (1,0) [0|255] "" A
BO_ 100 Plain: 8 A
 SG_ X : 0|8@1+ (1,0) [0|255] "" A
BA_DEF_ BO_ "VFrameFormat" ENUM "StandardCAN","ExtendedCAN","reserved","J1939PG";
BA_DEF_ "ProtocolType" STRING ;
BA_DEF_ "BusType" STRING ;
BA_DEF_DEF_ "ProtocolType" "";
BA_DEF_DEF_ "BusType" "CAN";
${rest}`,
      'x.dbc',
    ).messages.map(({ j1939, fd }) => [j1939, fd]);
  const [yes, no, plain] = [
    [true, false],
    [false, false],
    [false, false],
  ];

  it.each([
    ['a default format', 'BA_DEF_DEF_ "VFrameFormat" "J1939PG";', [yes, yes, plain]],
    ['the format of one', 'BA_ "VFrameFormat" BO_ 2364540158 3;', [yes, [false, true], plain]],
    ['the protocol', 'BA_ "ProtocolType" "J1939";', [yes, yes, plain]],
    ['the type of the bus', 'BA_ "BusType" "J1939";', [yes, yes, plain]],
    [
      'the protocol, and a default format',
      'BA_DEF_DEF_ "VFrameFormat" "ExtendedCAN";\nBA_ "ProtocolType" "J1939";',
      [...[yes, yes, plain]],
    ],
    [
      'the protocol, and not of one',
      'BA_ "ProtocolType" "J1939";\nBA_ "VFrameFormat" BO_ 2364540158 1;',
      [no, yes, plain],
    ],
    ['nothing', '', [no, [false, true], plain]],
    ['another protocol', 'BA_ "ProtocolType" "CANopen";', [no, [false, true], plain]],
  ])('%s', (_, rest, wanted) => {
    expect(messages(rest)).toEqual(wanted);
  });

  it('a number of the format without its labels', () => {
    const source = 'BO_ 2364540158 E: 8 A\n SG_ X : 0|8@1+ (1,0) [0|0] "" A\nBA_ "VFrameFormat" BO_ 2364540158 3;\n';
    expect(parseDbc(source, 'x.dbc').messages[0]!.j1939).toBe(true);
  });
});
