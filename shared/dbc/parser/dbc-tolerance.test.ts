/** What is wrong in one place of a DBC file costs that place. Values are worked out by hand. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isKerbError } from '../../base/errors.ts';
import { compileMessage } from '../message-codec.ts';
import { parseDbc } from './dbc-parser.ts';

const HEAD = 'VERSION ""\n\nNS_ :\n\nBS_:\n\nBU_: A B\n\n';
const parse = (body: string) => parseDbc(HEAD + body, 'x.dbc');
/** Lines of the body, counted from 1 in the file. */
const LINE = HEAD.split('\n').length;

/** "MESSAGE.SIGNAL" of everything that was read. */
const names = (body: string) =>
  parse(body).messages.flatMap((message) => message.signals.map((signal) => `${message.name}.${signal.name}`));

const S = (name: string, at = 0, mux = '') => ` SG_ ${name} ${mux}: ${at}|8@1+ (1,0) [0|0] "" B\n`;

describe('a DBC file as people have them', () => {
  it('may have comments of C, which are not signals', () => {
    const body = `// head\nBO_ 100 M: 8 A // note "\n${S('S')} //SG_ V : 8|8@1+ (1,0) [0|0] "" B\n/* SG_\n */\nBO_ 101 N: 8 A\n${S('T')}`;
    expect(names(body)).toEqual(['M.S', 'N.T']);
    expect(parse(body).warningCount).toBe(0);
  });

  it('keeps "//" and statements in a string', () => {
    const dbc = parse(`BO_ 100 M: 8 A\n${S('S')}CM_ SG_ 100 S "see http://x\nBO_ 5 is not one";\nCM_ BO_ 100 "m";\n`);
    expect(dbc.messages[0]!.signals[0]!.comment).toBe('see http://x\nBO_ 5 is not one');
    expect(dbc.messages[0]!.comment).toBe('m');
    expect(dbc.warningCount).toBe(0);
  });

  it('may have line ends of any system', () => {
    for (const end of ['\n', '\r\n', '\r']) {
      const source = `${HEAD}BO_ 100 M: 8 A\n${S('T')}${S('V', 8)}CM_ SG_ 100 V "v";\n`.replaceAll('\n', end);
      const dbc = parseDbc(source, 'x.dbc');
      expect(dbc.nodes).toEqual(['A', 'B']);
      expect(dbc.messages[0]!.signals.map(({ name, comment }) => [name, comment])).toEqual([
        ['T', ''],
        ['V', 'v'],
      ]);
      expect(dbc.warningCount).toBe(0);
    }
  });

  it('parks signals of no message under any id', () => {
    for (const id of [1073741824, 3221225472, 0]) {
      const orphans = `BO_ ${id} VECTOR__INDEPENDENT_SIG_MSG: 0 Vector__XXX\n${S('N')}`;
      const dbc = parse(`${orphans}BO_ 100 M: 8 A\n${S('T')}CM_ SG_ ${id} N "parked";\n`);
      expect(dbc.messages.map(({ name }) => name)).toEqual(['M']);
      expect(dbc.warnings).toEqual([]);
    }
  });

  it('may have names that begin with digits, as some tools write them, and no sender', () => {
    expect(names(`BO_ 100 2ndGear: 8 A\n${S('1e5x')}${S('0x', 8)}BO_ 101 N: 8\n${S('S')}`)).toEqual([
      '2ndGear.1e5x',
      '2ndGear.0x',
      'N.S',
    ]);
  });

  it('names messages and signals by their long names, and knows the short ones', () => {
    const dbc = parse(
      `BO_ 100 Short: 8 A\n${S('Mux', 0, 'M ')}${S('Low', 8, 'm0 ')}${S('Other', 16)}` +
        'BA_DEF_ SG_ "SystemSignalLongSymbol" STRING ;\nBA_DEF_ BO_ "SystemMessageLongSymbol" STRING ;\n' +
        'BA_DEF_DEF_ "SystemSignalLongSymbol" "";\nBA_DEF_DEF_ "SystemMessageLongSymbol" "";\n' +
        'BA_ "SystemSignalLongSymbol" SG_ 100 Mux "MultiplexerOfALongName";\n' +
        'BA_ "SystemSignalLongSymbol" SG_ 100 Low "Other";\n' +
        'BA_ "SystemMessageLongSymbol" BO_ 100 "MessageOfALongName";\n',
    );
    const [message] = dbc.messages;
    expect(message).toMatchObject({ name: 'MessageOfALongName', shortName: 'Short' });
    // The long name of Low is taken, so it keeps its own.
    expect(message!.signals.map(({ name }) => name)).toEqual(['MultiplexerOfALongName', 'Low', 'Other']);
    expect(dbc.warnings).toHaveLength(1);
    const codec = compileMessage(message!);
    expect(codec.signal('Mux')).toBe(codec.signal('MultiplexerOfALongName'));
    const values = codec.decode(Uint8Array.of(0, 7, 9, 0, 0, 0, 0, 0));
    expect([...values]).toEqual([
      ['MultiplexerOfALongName', 0],
      ['Low', 7],
      ['Other', 9],
    ]);
    expect(codec.decode(Uint8Array.of(1, 7, 9, 0, 0, 0, 0, 0)).has('Low')).toBe(false);
    expect(codec.encode({ Mux: 0, Low: 5 })[1]).toBe(5);
  });

  it('may have one name in groups that exclude each other, and in none besides', () => {
    const dbc = parse(
      `BO_ 100 M: 8 A\n${S('MUX', 56, 'M ')}${S('Level', 0, 'm0 ')}${S('Level', 8, 'm1 ')}${S('Level', 16, 'm1 ')}${S('Level', 24)}`,
    );
    expect(dbc.warnings.map((warning) => warning.split(':')[1])).toEqual([`${LINE + 4}`, `${LINE + 5}`]);
    const codec = compileMessage(dbc.messages[0]!);
    expect(codec.decode(Uint8Array.of(1, 2, 3, 4, 0, 0, 0, 0)).get('Level')).toBe(1);
    expect(codec.decode(Uint8Array.of(1, 2, 3, 4, 0, 0, 0, 1)).get('Level')).toBe(2);
    expect(codec.decode(Uint8Array.of(1, 2, 3, 4, 0, 0, 0, 2)).has('Level')).toBe(false);
    expect([...codec.encode({ MUX: 1, Level: 9 })]).toEqual([0, 9, 0, 0, 0, 0, 0, 1]);
  });

  it('has a signal that is too long for its message only in longer frames', () => {
    const dbc = parse(`BO_ 1493 M: 5 A\n${S('A')} SG_ L : 32|13@1- (1,0) [0|0] "" B\nBO_ 1494 N: 8 A\n${S('Y')}`);
    expect(dbc.warnings).toHaveLength(1);
    const codec = compileMessage(dbc.messages[0]!);
    expect([...codec.decode(Uint8Array.of(1, 0, 0, 0, 0xff))]).toEqual([['A', 1]]);
    // 13 bits of FF 1F are all ones: -1.
    expect(codec.decode(Uint8Array.of(1, 0, 0, 0, 0xff, 0x1f)).get('L')).toBe(-1);
    expect(codec.encode({ A: 2 })).toHaveLength(5);
    expect(() => codec.encode({ L: 1 })).toThrow();
  });

  it.each<[string, string, readonly string[]]>([
    ['a signal of nonsense', `BO_ 1 M: 8 A\n${S('S')} SG_ Bad : x|8@1+ (1,0) [0|0] "" B\n${S('T', 8)}`, ['M.S', 'M.T']],
    ['a message of nonsense', `BO_ 1 M 8 A\n${S('S')}${S('T')}BO_ 2 N: 8 A\n${S('U')}`, ['N.U']],
    ['an id that no frame has', `BO_ 5000 M: 8 A\n${S('S')}BO_ 2 N: 8 A\n${S('U')}`, ['N.U']],
    [
      'an id that is there twice',
      `BO_ 1 M: 8 A\n${S('S')}BO_ 1 N: 8 A\n${S('U')}BO_ 2 O: 8 A\n${S('V')}`,
      ['M.S', 'O.V'],
    ],
    ['a comment without a signal', `BO_ 1 M: 8 A\n${S('S')}CM_ SG_ 1 "x";\nBO_ 2 N: 8 A\n${S('U')}`, ['M.S', 'N.U']],
    [
      'a comment without its end',
      `BO_ 1 M: 8 A\n${S('S')}CM_ BO_ 1 "x;\nBO_ 2 N: 8 A\n${S('U')}CM_ "y";\n`,
      ['M.S', 'N.U'],
    ],
    ['a string without its end at the end', `BO_ 1 M: 8 A\n${S('S')}CM_ BO_ 1 "x;\n`, ['M.S']],
    ['a group without a multiplexer', `BO_ 1 M: 8 A\n${S('S', 0, 'm0 ')}${S('T')}`, ['M.T']],
    [
      'what depends on what is lost',
      `BO_ 1 M: 8 A\n SG_ X M : 0|0@1+ (1,0) [0|0] "" B\n${S('S', 0, 'm0 ')}${S('T')}`,
      ['M.T'],
    ],
    ['a word that is no statement', `BO_ 1 M: 8 A\n${S('S')}HELLO "x";\nBO_ 2 N: 8 A\n${S('U')}`, ['M.S', 'N.U']],
    ['a ";" that is missing', `BO_ 1 M: 8 A\n${S('S')}CM_ "x"\nBO_ 2 N: 8 A\n${S('U')}`, ['M.S', 'N.U']],
    ['a last ";" that is missing', `BO_ 1 M: 8 A\n${S('S')}VAL_ 1 S 0 "off" 1 "on" `, ['M.S']],
  ])('loses with %s nothing else, and says so', (_what, body, expected) => {
    expect(names(body)).toEqual(expected);
    expect(parse(body).warningCount).toBeGreaterThan(0);
  });

  it('lists every problem with its line, and of very many the first', () => {
    const bad = (n: number) => ` SG_ B${n} : 0|8@1 (1,0) [0|0] "" B\n`;
    const two = parse(`BO_ 1 M: 8 A\n${bad(1)}${S('S')}${bad(2)}`);
    expect(two.warnings.map((warning) => warning.split(':')[1])).toEqual([`${LINE + 1}`, `${LINE + 3}`]);
    expect([...two.lost]).toEqual(['B1', 'B2']);
    const many = parse(`BO_ 1 M: 8 A\n${Array.from({ length: 5000 }, (_, n) => bad(n)).join('')}`);
    expect(many.warningCount).toBe(5000);
    expect(many.warnings.length).toBeLessThanOrEqual(200);
  });

  it('says which start values do not fit, and starts with what is right', () => {
    const dbc = parse(
      `BO_ 1 M: 8 A\n${S('S')}${S('T', 8)}${S('U', 16)} SG_ V : 24|8@1- (1,0) [0|0] "" B\n SG_ W : 32|32@1- (1,0) [0|0] "" B\n` +
        'BA_DEF_ SG_ "GenSigStartValue" FLOAT 0 100000;\nBA_DEF_DEF_ "GenSigStartValue" 0;\nSIG_VALTYPE_ 1 W : 1;\n' +
        'BA_ "GenSigStartValue" SG_ 1 S 1.5;\nBA_ "GenSigStartValue" SG_ 1 T 256;\nBA_ "GenSigStartValue" SG_ 1 U 255;\n' +
        'BA_ "GenSigStartValue" SG_ 1 V 255;\nBA_ "GenSigStartValue" SG_ 1 W 1.5;\n',
    );
    // Those of S and T, nine and ten lines after the first.
    expect(dbc.warnings.map((warning) => warning.split(':')[1])).toEqual([`${LINE + 9}`, `${LINE + 10}`]);
    // 255 in eight signed bits is -1.
    expect(dbc.messages[0]!.signals.map(({ startRaw }) => startRaw)).toEqual([0, 0, 255, -1, 1.5]);
  });

  it('never fails in another way, whatever is done to it', () => {
    const seed =
      `${HEAD}BO_ 100 M: 8 A\n${S('MUX', 56, 'M ')}${S('Level', 0, 'm0 ')}${S('In', 0, 'm1M ')}${S('Wide', 8)}` +
      'BO_ 2566844926 L: 64 A\n SG_ D : 7|64@0- (1e-3,+2.5E1) [-1|1] "°C" B\nCM_ SG_ 100 Wide "a\nb";\n' +
      'BA_DEF_ SG_ "GenSigStartValue" INT 0 1;\nBA_ "GenSigStartValue" SG_ 100 Wide 3;\nVAL_ 100 Wide 1 "on" 0 "off" ;\n' +
      'SIG_VALTYPE_ 2566844926 D : 2;\nSG_MUL_VAL_ 100 In MUX 1-1;\nBO_TX_BU_ 100 : A,B;\n';
    const piece = fc.constantFrom(...[...'":;|@+-()[],0 9mM\n\r/\\', 'SG_ ', '\nBO_ ', 'CM_ ', 'NaN', '1e999', '"']);
    const edit = fc.record({ at: fc.nat(seed.length), cut: fc.nat(40), put: piece });
    fc.assert(
      fc.property(fc.array(edit, { minLength: 1, maxLength: 4 }), (edits) => {
        let source = seed;
        for (const { at, cut, put } of edits) source = source.slice(0, at) + put + source.slice(at + cut);
        try {
          const dbc = parseDbc(source, 'x.dbc');
          for (const message of dbc.messages) {
            const codec = compileMessage(message);
            codec.decode(new Uint8Array(message.length).fill(0x5a));
            codec.encode({});
          }
        } catch (error) {
          // A multiplexer may start with what selects too much; that, and no defect, may come.
          if (!isKerbError(error)) throw error;
        }
      }),
      { numRuns: 1500 },
    );
  });
});
