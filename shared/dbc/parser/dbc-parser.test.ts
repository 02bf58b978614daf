import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ErrorCode, messageOf as messageOfError } from '../../base/errors.ts';
import type { Dbc, DbcMessage, DbcSignal } from '../dbc.ts';
import { loadDbc, parseDbc } from './dbc-parser.ts';

// Everything that files of different tools have, each as some tool writes it.
const full = `VERSION "1.2 \\"beta\\""

NS_ :
	NS_DESC_
	CM_
	BA_DEF_
	SG_MUL_VAL_

BS_: 500 : 1,2

BU_: Engine Dash
  Body

VAL_TABLE_ OnOff 1 "on" 0 "off" ;

BO_ 100 Plain: 8 Engine
 SG_ Little : 0|16@1+ (0.5,-10) [-10|100] "km/h" Dash,Body
 SG_ Big : 23|12@0- (1,0) [0|0] "°C"  Dash
 SG_ Tight:40|1@1+(1,0)[0|1]"" Vector__XXX
 SG_ Single : 32|8@1- (1e-1,+2.5E1) [0|0] "" Dash

BO_ 2566844926 Long_29: 8 Body
 SG_ Half : 0|32@1- (1,0) [0|0] "" Dash

BO_ 200 Muxed: 8 Engine
 SG_ Select M : 0|8@1+ (1,0) [0|255] "" Dash
 SG_ Zero m0 : 8|8@1+ (1,0) [0|255] "" Dash
 SG_ Ten m10 : 8|8@1+ (1,0) [0|255] "" Dash

BO_ 201 Extended: 8 Engine
 SG_ Outer M : 0|8@1+ (1,0) [0|255] "" Dash
 SG_ Inner m1M : 8|8@1+ (1,0) [0|255] "" Dash
 SG_ Leaf m2 : 16|8@1+ (1,0) [0|255] "" Dash
 SG_ Range m0 : 16|8@1+ (1,0) [0|255] "" Dash

BO_ 300 Fast: 64 Engine
 SG_ Double : 0|64@1- (1,0) [0|0] "" Dash

BO_ 301 ShortFd: 8 Engine

BO_ 3221225472 VECTOR__INDEPENDENT_SIG_MSG: 0 Vector__XXX
 SG_ Orphan : 0|8@1+ (1,0) [0|0] "" Vector__XXX

BO_TX_BU_ 100 : Engine,Body;
EV_ Light: 0 [0|1] "" 0 2 DUMMY_NODE_VECTOR0 Vector__XXX;
ENVVAR_DATA_ Light: 1;
SIG_GROUP_ 100 Group 1 : Little Big;
CM_ "The network";
CM_ BU_ Engine "A node";
CM_ BO_ 100 "A message";
CM_ SG_ 100 Little "Of several
lines; with \\"quotes\\"";
CM_ EV_ Light "A variable";
BA_DEF_ "BusType" STRING ;
BA_DEF_ BO_ "GenMsgCycleTime" INT 0 10000;
BA_DEF_ BO_ "VFrameFormat" ENUM "StandardCAN","ExtendedCAN","reserved","J1939PG","StandardCAN_FD","ExtendedCAN_FD";
BA_DEF_ SG_ "GenSigStartValue" FLOAT 0 1000;
BA_DEF_ BU_ "NodeLayer" STRING ;
BA_DEF_ EV_ "Something" HEX 0 255;
BA_DEF_REL_ BU_SG_REL_ "Timeout" INT 0 65535;
BA_DEF_DEF_ "GenMsgCycleTime" 100;
BA_DEF_DEF_ "VFrameFormat" "StandardCAN";
BA_DEF_DEF_ "GenSigStartValue" 7;
BA_DEF_DEF_ "BusType" "";
BA_DEF_DEF_REL_ "Timeout" 0;
BA_ "BusType" "CAN FD";
BA_ "NodeLayer" BU_ Engine "x";
BA_ "GenMsgCycleTime" BO_ 100 20;
BA_ "VFrameFormat" BO_ 2566844926 1;
BA_ "VFrameFormat" BO_ 301 4;
BA_ "GenSigStartValue" SG_ 100 Little 20;
BA_REL_ "Timeout" BU_SG_REL_ Dash SG_ 100 Little 50;
VAL_ 100 Tight OnOff ;
VAL_ 100 Single 255 "minus one" 3 "three" ;
VAL_ Light 1 "on" 0 "off" ;
VAL_ 999 Nothing 1 "on" ;
SIG_VALTYPE_ 2566844926 Half : 1;
SIG_VALTYPE_ 300 Double 2;
SG_MUL_VAL_ 201 Inner Outer 1-1;
SG_MUL_VAL_ 201 Leaf Inner 2-2, 5-9;
SG_MUL_VAL_ 201 Range Outer 10-20;
`;

function messageOf(dbc: Dbc, name: string): DbcMessage {
  return dbc.messages.find((message) => message.name === name)!;
}

function signalOf(dbc: Dbc, message: string, name: string): DbcSignal {
  return messageOf(dbc, message).signals.find((signal) => signal.name === name)!;
}

/** What is wrong in a file, whether it can be read in part or not at all. */
function problemsOf(source: string): readonly string[] {
  try {
    return parseDbc(source, 'bad.dbc').warnings;
  } catch (error) {
    expect(error).toMatchObject({ code: ErrorCode.BadDbc, context: { file: 'bad.dbc' } });
    return [messageOfError(error)];
  }
}

describe('parseDbc', () => {
  const dbc = parseDbc(full, 'full.dbc');

  it('reads messages: ids of both kinds, length, sender, cycle time, comments', () => {
    expect(dbc.version).toBe('1.2 "beta"');
    expect(dbc.nodes).toEqual(['Engine', 'Dash', 'Body']);
    expect(dbc.comment).toBe('The network');
    expect(dbc.attributes.get('BusType')).toBe('CAN FD');
    expect(dbc.messages.map(({ name }) => name)).toEqual(['Plain', 'Long_29', 'Muxed', 'Extended', 'Fast', 'ShortFd']);
    expect(messageOf(dbc, 'Plain')).toMatchObject({
      id: 100,
      ext: false,
      length: 8,
      sender: 'Engine',
      cycleMs: 20,
      fd: false,
      comment: 'A message',
    });
    // 2566844926 = 80000000 + 18FEF1FE hex
    expect(messageOf(dbc, 'Long_29')).toMatchObject({ id: 0x18fef1fe, ext: true, cycleMs: 100 });
  });

  it('reads signals: layout, scale, range, unit, receivers', () => {
    expect(signalOf(dbc, 'Plain', 'Little')).toMatchObject({
      startBit: 0,
      length: 16,
      bigEndian: false,
      signed: false,
      float: 'none',
      factor: 0.5,
      offset: -10,
      min: -10,
      max: 100,
      unit: 'km/h',
      receivers: ['Dash', 'Body'],
      comment: 'Of several\nlines; with "quotes"',
      startRaw: 20,
    });
    expect(signalOf(dbc, 'Plain', 'Big')).toMatchObject({ bigEndian: true, signed: true, unit: '°C', startRaw: 7 });
    expect(signalOf(dbc, 'Plain', 'Tight')).toMatchObject({ startBit: 40, length: 1 });
    expect(signalOf(dbc, 'Plain', 'Single')).toMatchObject({ factor: 0.1, offset: 25 });
  });

  it('knows FD messages by their format and by their length', () => {
    expect(dbc.messages.filter(({ fd }) => fd).map(({ name }) => name)).toEqual(['Fast', 'ShortFd']);
  });

  it('reads names of values, from a table and in place, of negative values too', () => {
    expect(Object.fromEntries(signalOf(dbc, 'Plain', 'Tight').labels)).toEqual({ 0: 'off', 1: 'on' });
    expect(Object.fromEntries(signalOf(dbc, 'Plain', 'Single').labels)).toEqual({ '-1': 'minus one', 3: 'three' });
    expect(dbc.valueTables.get('OnOff')?.size).toBe(2);
  });

  it('reads float types', () => {
    expect(signalOf(dbc, 'Long_29', 'Half').float).toBe('single');
    expect(signalOf(dbc, 'Fast', 'Double').float).toBe('double');
  });

  it('reads multiplexing, plain and extended', () => {
    expect(signalOf(dbc, 'Muxed', 'Select')).toMatchObject({ isMultiplexer: true, mux: undefined });
    expect(signalOf(dbc, 'Muxed', 'Ten').mux).toEqual({ by: 'Select', ranges: [[10, 10]] });
    expect(signalOf(dbc, 'Extended', 'Inner')).toMatchObject({
      isMultiplexer: true,
      mux: { by: 'Outer', ranges: [[1, 1]] },
    });
    expect(signalOf(dbc, 'Extended', 'Leaf').mux).toEqual({
      by: 'Inner',
      ranges: [
        [2, 2],
        [5, 9],
      ],
    });
    expect(signalOf(dbc, 'Extended', 'Range').mux).toEqual({ by: 'Outer', ranges: [[10, 20]] });
  });

  it('warns of statements about what is not there', () => {
    const line = full.split('\n').findIndex((text) => text.startsWith('VAL_ 999')) + 1;
    expect(dbc.warnings).toEqual([`full.dbc:${line}: message 999 has no signal Nothing`]);
  });

  it('reads the same with the line ends of Windows', () => {
    const windows = parseDbc(full.replaceAll('\n', '\r\n'), 'full.dbc');
    expect(windows.messages.map(({ name, signals }) => [name, signals.length])).toEqual(
      dbc.messages.map(({ name, signals }) => [name, signals.length]),
    );
    expect(windows.warnings).toEqual(dbc.warnings);
  });

  it('reads a file without lists', () => {
    expect(parseDbc('BO_ 1 A: 8 X\n SG_ B : 0|8@1+ (1,0) [0|0] "" X', 'x.dbc').messages).toHaveLength(1);
  });

  it.each(['', ' \r\n\n', '\ufeff', '\0\0\0', '<html>\n<body>', 'key: value\nother: [1, 2]\n', '%PDF-1.4\n%\u00e2\n'])(
    'refuses %j, which is not a DBC file',
    (source) => {
      expect(() => parseDbc(source, 'no.dbc')).toThrow(expect.objectContaining({ code: ErrorCode.BadDbc }));
    },
  );

  it.each<[string, number, string]>([
    ['VERSION 5', 1, 'the version is expected, not "5"'],
    ['\n\nHELLO "x";', 3, '"HELLO" is not a statement of a DBC file'],
    ['BO_ 1 A 8 X', 1, '":" is expected, not "8"'],
    ['BO_ 1 A: 8 X\n SG_ B : 0|8@2+ (1,0) [0|0] "" X', 2, 'the byte order is 0'],
    ['BO_ 1 A: 8 X\n SG_ B : 0|8@1 (1,0) [0|0] "" X', 2, 'after the byte order comes +'],
    ['BO_ 1 A: 8 X\n SG_ B q1 : 0|8@1+ (1,0) [0|0] "" X', 2, '"q1" is not a multiplexer mark'],
    ['BO_ 1 A: 64 X\n SG_ B : 0|513@1+ (1,0) [0|0] "" X', 2, 'has 513 bits'],
    ['BO_ 1 A: 8 X\n SG_ B : 0|0@1+ (1,0) [0|0] "" X', 2, 'has 0 bits'],
    ['BO_ 1 A: 8 X\n SG_ B : 60|8@1+ (1,0) [0|0] "" X', 2, 'does not fit into the 8 bytes'],
    ['BO_ 1 A: 2 X\n SG_ B : 7|17@0+ (1,0) [0|0] "" X', 2, 'does not fit into the 2 bytes'],
    ['BO_ 1 A: 8 X\n SG_ B : -1|8@1+ (1,0) [0|0] "" X', 2, 'is in no frame'],
    ['BO_ 1 A: 8 X\n SG_ B : 0|8@1+ (0,0) [0|0] "" X', 2, 'factor 0'],
    ['BO_ 1 A: 8 X\n SG_ B : 0|8@1+ (1,0) [0|0] X', 2, 'the unit is expected'],
    ['BO_ 1 A: 8 X\n SG_ B : 0.5|8@1+ (1,0) [0|0] "" X', 2, 'must be a whole number'],
    [
      'BO_ 1 A: 8 X\n SG_ B : 0|8@1+ (1,0) [0|0] "" X\n SG_ B : 8|8@1+ (1,0) [0|0] "" X',
      3,
      'has one of this name already, in line 2',
    ],
    ['BO_ 1 A: 8 X\n\nBO_ 1 B: 8 X', 3, 'has the id of A in line 1'],
    ['BO_ 2048 A: 8 X', 1, '2048 is not a valid id'],
    ['BO_ 2684354560 A: 8 X', 1, '2684354560 is not a valid id'],
    ['BO_ 1 A: 5000 X', 1, 'cannot have 5000 bytes'],
    ['SG_ B : 0|8@1+ (1,0) [0|0] "" X', 1, 'before the first message'],
    ['CM_ "never\n ends', 1, 'a string begins here and never ends'],
    ['CM_ BO_ 1 "x"\nCM_ "y";', 1, 'CM_ has no ";" at its end'],
    ['CM_ BO_ 1 "x" 5;', 1, '";" is expected'],
    ['CM_ XX_ 1 "x";', 1, '"XX_" is not what a statement can be about'],
    ['BA_DEF_ BO_ "A" THING 0 1;', 1, '"THING" is not a type'],
    ['BU_SG_REL_ x y', 1, 'has no ";" at its end'],
    ['VAL_ 1 B Missing ;', 1, 'there is no value table "Missing"'],
    ['BO_ 1 A: 8 X\n SG_ B m0 : 0|8@1+ (1,0) [0|0] "" X', 2, 'has no multiplexer'],
    [
      'BO_ 1 A: 8 X\n SG_ M1 M : 0|8@1+ (1,0) [0|0] "" X\n SG_ M2 M : 8|8@1+ (1,0) [0|0] "" X\n SG_ B m0 : 16|8@1+ (1,0) [0|0] "" X',
      4,
      'no SG_MUL_VAL_ says by which of 2',
    ],
    [
      'BO_ 1 A: 8 X\n SG_ B m0M : 0|8@1+ (1,0) [0|0] "" X\n SG_ C m0M : 8|8@1+ (1,0) [0|0] "" X\nSG_MUL_VAL_ 1 B C 0-0;\nSG_MUL_VAL_ 1 C B 0-0;',
      2,
      'depends on itself',
    ],
    ['BO_ 1 A: 8 X\n SG_ B : 0|24@1+ (1,0) [0|0] "" X\nSIG_VALTYPE_ 1 B : 1;', 3, 'has 24 bits, and no float has'],
    ['BO_ 1 A: 8 X\n SG_ B : 0|16@1+ (1,0) [0|0] "" X\nSIG_VALTYPE_ 1 B : 5;', 3, '5 is not a value type'],
    ['BO_ 1 A: 8 X\n SG_ B : 0|8@1+ (1,0) [0|0] "" X §', 2, 'unexpected character "§"'],
    ['BO_ 1 A', 1, 'is expected, not the end of the file'],
  ])('names the line of %j', (source, line, what) => {
    const problems = problemsOf(source);
    expect(
      problems.filter((problem) => problem.startsWith(`bad.dbc:${line}: `) && problem.includes(what)),
    ).toHaveLength(1);
  });

  it('does not choke on half of a file, wherever it is cut', () => {
    for (let cut = 0; cut < full.length; cut += 13) {
      try {
        parseDbc(full.slice(0, cut), 'cut.dbc');
      } catch (error) {
        expect(error).toMatchObject({ code: ErrorCode.BadDbc });
      }
    }
  });
});

describe('loadDbc', () => {
  it('reads files in UTF-8 and in Windows-1252', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'kerb-dbc-'));
    const source = 'BO_ 1 A: 8 X\n SG_ B : 0|8@1+ (1,0) [0|0] "°C" X\n';
    await writeFile(join(folder, 'utf8.dbc'), source, 'utf8');
    await writeFile(join(folder, 'windows.dbc'), source, 'latin1');
    for (const name of ['utf8.dbc', 'windows.dbc']) {
      expect((await loadDbc(join(folder, name))).messages[0]!.signals[0]!.unit).toBe('°C');
    }
    await rm(folder, { recursive: true });
  });

  it('says that a file is not there', async () => {
    await expect(loadDbc('/nowhere/x.dbc')).rejects.toMatchObject({
      code: ErrorCode.BadDbc,
      message: expect.stringContaining('/nowhere/x.dbc:1: the file cannot be read'),
    });
  });
});
