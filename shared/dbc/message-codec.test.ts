import { describe, expect, it } from 'vitest';
import { ErrorCode } from '../base/errors.ts';
import { compileMessage, type MessageCodec } from './message-codec.ts';
import { parseDbc } from './parser/dbc-parser.ts';

function codecOf(signals: string, extra = '', length = 8): MessageCodec {
  const lines = signals.split('\n').map((line) => ` SG_ ${line.trim()} "" X`);
  const dbc = parseDbc(`BO_ 1 Message: ${length} X\n${lines.join('\n')}\n${extra}`, 'test.dbc');
  return compileMessage(dbc.messages[0]!);
}

function bytes(...values: number[]): Uint8Array {
  return Uint8Array.from(values);
}

const outOfRange = expect.objectContaining({ code: ErrorCode.SignalOutOfRange });

describe('decoding', () => {
  it('reads big-endian signals that begin and end within bytes', () => {
    const codec = codecOf('A : 11|12@0+ (1,0) [0|0]\nB : 3|10@0- (1,0) [0|0]');
    // A: most significant at bit 3 of byte 1, so the low nibble of byte 1 and all of byte 2: 5, AB = 5AB hex = 1451.
    // B: low nibble of byte 0 (C = 1100), then the top six bits of byte 1 (95 hex = 100101..): 1100 100101 binary
    //    = 805, minus 1024 = -219.
    const values = codec.decode(bytes(0xac, 0x95, 0xab, 0, 0, 0, 0, 0));
    expect(values.get('A')).toBe(1451);
    expect(values.get('B')).toBe(-219);
  });

  it('reads 64 bits, signed and unsigned, in both byte orders', () => {
    const little = codecOf('A : 0|64@1- (1,0) [0|0]');
    const big = codecOf('A : 7|64@0+ (1,0) [0|0]');
    expect(little.decode(bytes(255, 255, 255, 255, 255, 255, 255, 255)).get('A')).toBe(-1);
    expect(little.decode(bytes(0, 0, 0, 0, 0, 0, 0, 0x80)).get('A')).toBe(-(2n ** 63n));
    // 00 1F FF FF FF FF FF FF = 2^53 - 1
    expect(big.decode(bytes(0, 0x1f, 255, 255, 255, 255, 255, 255)).get('A')).toBe(2 ** 53 - 1);
    expect(big.decode(bytes(255, 255, 255, 255, 255, 255, 255, 255)).get('A')).toBe(2n ** 64n - 1n);
  });

  it('reads floats', () => {
    const codec = codecOf(
      'A : 0|32@1- (1,0) [0|0]\nB : 39|32@0- (2,1) [0|0]',
      'SIG_VALTYPE_ 1 A : 1;\nSIG_VALTYPE_ 1 B : 1;',
    );
    // 3FC00000 hex is 1.5 (IEEE 754): once with the least byte first, once with the most; 1.5 * 2 + 1 = 4.
    const values = codec.decode(bytes(0x00, 0x00, 0xc0, 0x3f, 0x3f, 0xc0, 0x00, 0x00));
    expect(values.get('A')).toBe(1.5);
    expect(values.get('B')).toBe(4);
    const double = codecOf('A : 0|64@1- (1,0) [0|0]', 'SIG_VALTYPE_ 1 A : 2;');
    // C008000000000000 hex is -3.
    expect(double.decode(bytes(0, 0, 0, 0, 0, 0, 0x08, 0xc0)).get('A')).toBe(-3);
  });

  it('leaves out signals that a short frame does not reach', () => {
    const codec = codecOf('A : 0|8@1+ (1,0) [0|0]\nB : 8|12@1+ (1,0) [0|0]\nC : 23|16@0+ (1,0) [0|0]');
    expect([...codec.decode(bytes(7)).keys()]).toEqual(['A']);
    expect([...codec.decode(bytes(7, 1, 2)).keys()]).toEqual(['A', 'B']);
    expect([...codec.decode(bytes(7, 1, 2, 3)).keys()]).toEqual(['A', 'B', 'C']);
    expect([...codec.decode(bytes()).keys()]).toEqual([]);
  });

  it('follows multiplexers of multiplexers', () => {
    const codec = codecOf(
      `Outer M : 0|8@1+ (1,0) [0|0]
       Inner m1M : 8|8@1+ (1,0) [0|0]
       Leaf m2 : 16|8@1+ (1,0) [0|0]
       Other m3 : 16|8@1+ (1,0) [0|0]`,
      'SG_MUL_VAL_ 1 Inner Outer 1-1;\nSG_MUL_VAL_ 1 Leaf Inner 2-2, 5-9;\nSG_MUL_VAL_ 1 Other Outer 3-4;',
    );
    const names = (...data: number[]) => [...codec.decode(bytes(...data, 0, 0, 0, 0, 0)).keys()];
    expect(names(1, 2, 0)).toEqual(['Outer', 'Inner', 'Leaf']);
    expect(names(1, 7, 0)).toEqual(['Outer', 'Inner', 'Leaf']);
    expect(names(1, 3, 0)).toEqual(['Outer', 'Inner']);
    // Byte 1 says 2, but Inner is not there with Outer 3.
    expect(names(3, 2, 0)).toEqual(['Outer', 'Other']);
    expect(names(9, 2, 0)).toEqual(['Outer']);
  });
});

describe('encoding', () => {
  it('sets the bits of one signal and no others', () => {
    const codec = codecOf('A : 3|10@0+ (1,0) [0|0]\nB : 20|9@1- (1,0) [0|0]');
    const data = new Uint8Array(8).fill(0xff);
    codec.signal('A').writeRaw(data, 0);
    // A: low nibble of byte 0 and the top six bits of byte 1.
    expect([...data]).toEqual([0xf0, 0x03, 255, 255, 255, 255, 255, 255]);
    const other = new Uint8Array(8);
    codec.signal('B').writeRaw(other, -1);
    // B: the high nibble of byte 2 and the low five bits of byte 3.
    expect([...other]).toEqual([0, 0, 0xf0, 0x1f, 0, 0, 0, 0]);
  });

  it('rounds to the nearest step', () => {
    const codec = codecOf('A : 0|8@1+ (0.5,-10) [-10|100]');
    expect(codec.encode({ A: 0.26 })[0]).toBe(21);
    expect(codec.encode({ A: 0.24 })[0]).toBe(20);
    expect(codec.encode({ A: -10 })[0]).toBe(0);
  });

  it('takes names of values and booleans', () => {
    const codec = codecOf('A : 0|8@1+ (2,1) [0|0]\nB : 8|1@1+ (1,0) [0|1]', 'VAL_ 1 A 3 "THREE" 0 "ZERO" ;');
    expect([...codec.encode({ A: 'THREE', B: true })].slice(0, 2)).toEqual([3, 1]);
    expect(() => codec.encode({ A: 'FOUR' })).toThrow(outOfRange);
    expect(() => codec.encode({ A: 'FOUR' })).toThrow('has no value named "FOUR"; it has THREE, ZERO');
    expect(() => codec.encode({ B: 'on' })).toThrow(outOfRange);
  });

  it('gives what is not given its start value', () => {
    const codec = codecOf(
      'A : 0|8@1+ (1,0) [0|0]\nB : 8|8@1+ (1,0) [0|0]',
      'BA_DEF_ SG_ "GenSigStartValue" INT 0 255;\nBA_DEF_DEF_ "GenSigStartValue" 0;\nBA_ "GenSigStartValue" SG_ 1 B 9;',
    );
    expect([...codec.encode({ A: 1 })].slice(0, 2)).toEqual([1, 9]);
  });

  it('writes the group that the multiplexer selects, whatever the order', () => {
    const codec = codecOf('X m1 : 8|8@1+ (1,0) [0|0]\nY m2 : 8|8@1+ (1,0) [0|0]\nS M : 0|8@1+ (1,0) [0|0]');
    expect([...codec.encode({ X: 7, S: 1 })].slice(0, 2)).toEqual([1, 7]);
    expect([...codec.encode({ S: 2, Y: 8 })].slice(0, 2)).toEqual([2, 8]);
    expect(() => codec.encode({ S: 2, X: 7 })).toThrow(
      expect.objectContaining({
        code: ErrorCode.UnknownSignal,
        message: 'message Message has no signal X with S as it is',
      }),
    );
  });

  it.each([
    ['A', 101],
    ['A', -11],
    ['A', Number.NaN],
    ['A', Number.POSITIVE_INFINITY],
    ['B', 256],
    ['B', -1],
    ['C', 128],
    ['C', -129],
    ['D', 2 ** 64],
  ])('refuses %s = %d', (name, value) => {
    const codec = codecOf(
      'A : 0|8@1+ (0.5,-10) [-10|100]\nB : 8|8@1+ (1,0) [0|0]\nC : 16|8@1- (1,0) [0|0]\nD : 64|64@1+ (1,0) [0|0]',
      '',
      16,
    );
    expect(() => codec.encode({ [name]: value })).toThrow(outOfRange);
    expect(() => codec.encode({ [name]: value })).toThrow(`signal ${name} cannot be ${value}`);
  });

  it('refuses signals that the message does not have', () => {
    const codec = codecOf('A : 0|8@1+ (1,0) [0|0]');
    for (const name of ['Z', '__proto__x', 'toString']) {
      expect(() => codec.encode({ [name]: 1 })).toThrow(expect.objectContaining({ code: ErrorCode.UnknownSignal }));
    }
    expect(() => codec.signal('Z')).toThrow(expect.objectContaining({ code: ErrorCode.UnknownSignal }));
  });
});

describe('any signal', () => {
  let state = 12345;
  const random = (below: number) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };

  /** The same by definition, one bit at a time. */
  function readSlowly(data: Uint8Array, start: number, length: number, big: boolean, signed: boolean): bigint {
    let value = 0n;
    for (let i = 0; i < length; i++) {
      // From the most significant bit on.
      const at = big ? (start >> 3) * 8 + 7 - (start & 7) + i : start + length - 1 - i;
      const bit = big ? (data[at >> 3]! >> (7 - (at & 7))) & 1 : (data[at >> 3]! >> (at & 7)) & 1;
      value = value * 2n + BigInt(bit);
    }
    return signed ? BigInt.asIntN(length, value) : value;
  }

  it('is read as its definition says and written back bit by bit', () => {
    for (let round = 0; round < 3000; round++) {
      const length = 1 + random(53);
      const big = random(2) === 0;
      const signed = random(2) === 0;
      const first = random(128 - length + 1);
      const start = big ? (first >> 3) * 8 + 7 - (first & 7) : first;
      const codec = codecOf(`A : ${start}|${length}@${big ? 0 : 1}${signed ? '-' : '+'} (1,0) [0|0]`, '', 16);
      const signal = codec.signal('A');
      const data = Uint8Array.from({ length: 16 }, () => random(256));
      const raw = signal.rawOf(data);
      expect(BigInt(raw)).toBe(readSlowly(data, start, length, big, signed));
      const copy = data.slice();
      signal.writeRaw(copy, raw);
      expect(copy).toEqual(data);
      // Into a frame of other bits: the signal is there, and all bits beside it are untouched.
      const inverse = data.map((byte) => byte ^ 0xff);
      signal.writeRaw(inverse, raw);
      expect(signal.rawOf(inverse)).toBe(raw);
      const changed = inverse.reduce((sum, byte, i) => sum + popCount(byte ^ data[i]! ^ 0xff), 0);
      expect(changed).toBe(length);
    }
  });

  it('survives encode and decode within half a step', () => {
    for (let round = 0; round < 2000; round++) {
      const length = 1 + random(40);
      const factor = [1, 0.5, 0.1, 0.01, 0.0333, -0.25][random(6)]!;
      const offset = [0, -40, 12.5, 1000][random(4)]!;
      const signed = random(2) === 0;
      const codec = codecOf(`A : ${random(24)}|${length}@1${signed ? '-' : '+'} (${factor},${offset}) [0|0]`);
      const least = signed ? -(2 ** (length - 1)) : 0;
      const raw = least + random(2 ** Math.min(length, 31));
      const physical = raw * factor + offset;
      const data = codec.encode({ A: physical });
      expect(codec.signal('A').rawOf(data)).toBe(raw);
      expect(codec.decode(data).get('A')).toBeCloseTo(physical, 6);
      const between = raw + 0.4 < least + 2 ** length - 1 ? physical + 0.4 * factor : physical;
      expect(Math.abs(Number(codec.decode(codec.encode({ A: between })).get('A')) - between)).toBeLessThanOrEqual(
        Math.abs(factor) / 2 + 1e-6,
      );
    }
  });

  function popCount(byte: number): number {
    let count = 0;
    for (let rest = byte; rest !== 0; rest &= rest - 1) count++;
    return count;
  }
});

describe('integers of more than 53 bits', () => {
  const MOST = 2n ** 64n - 1n;

  it('are exact, and numbers where a number holds them', () => {
    const codec = codecOf('A : 0|64@1+ (1,0) [0|18446744073709551615]');
    for (const value of [MOST, 2n ** 53n + 1n, 0x0102030405060708n]) {
      const data = codec.encode({ A: value });
      // Least byte first.
      expect(Buffer.from(data).readBigUInt64LE()).toBe(value);
      expect(codec.decode(data).get('A')).toBe(value);
    }
    expect(codec.decode(codec.encode({ A: 2 ** 53 - 1 })).get('A')).toBe(2 ** 53 - 1);
    expect(() => codec.encode({ A: MOST + 1n })).toThrow(outOfRange);
    expect(() => codec.encode({ A: -1n })).toThrow(outOfRange);
  });

  it('keep their digits with a scale of integers', () => {
    const codec = codecOf('A : 7|64@0- (3,-5) [0|0]\nB : 64|50@1+ (1000,7) [0|0]', '', 16);
    // (2^62 + 1) * 3 - 5 = 3 * 2^62 - 2
    const data = new Uint8Array(16);
    Buffer.from(data.buffer).writeBigInt64BE(2n ** 62n + 1n);
    expect(codec.decode(data).get('A')).toBe(3n * 2n ** 62n - 2n);
    expect([...codec.encode({ A: 3n * 2n ** 62n - 2n })].slice(0, 8)).toEqual([...data].slice(0, 8));
    // To the nearest step: 3 * 2^62 - 1 is a third of a step above.
    expect([...codec.encode({ A: 3n * 2n ** 62n - 1n })].slice(0, 8)).toEqual([...data].slice(0, 8));
    // (2^50 - 1) * 1000 + 7 has 60 bits, though its raw value has 50.
    const most = (2n ** 50n - 1n) * 1000n + 7n;
    expect(codec.decode(codec.encode({ B: most })).get('B')).toBe(most);
  });

  it('are read as doubles where the scale has a fraction', () => {
    const codec = codecOf('A : 0|64@1+ (0.5,0) [0|0]');
    // 2^64 - 1, halved, is 2^63 to the nearest double.
    expect(codec.decode(new Uint8Array(8).fill(0xff)).get('A')).toBe(2 ** 63);
  });

  it('may have more than 64 bits in CAN FD', () => {
    const codec = codecOf('A : 4|100@1- (1,0) [0|0]', '', 16);
    for (const value of [-(2n ** 99n), 2n ** 99n - 1n, -1, 2n ** 64n + 3n]) {
      expect(codec.decode(codec.encode({ A: value })).get('A')).toBe(value);
    }
    expect(() => codec.encode({ A: 2n ** 99n })).toThrow(outOfRange);
  });

  it('are known by their names', () => {
    const codec = codecOf(
      'A : 0|64@1+ (1,0) [0|0]',
      'VAL_ 1 A 18446744073709551615 "SNA" 18446744073709551614 "ERROR" ;',
    );
    expect([...codec.encode({ A: 'ERROR' })]).toEqual([0xfe, 255, 255, 255, 255, 255, 255, 255]);
    expect(codec.signal('A').signal.labels.get(MOST)).toBe('SNA');
  });

  it('are read and written at any place, without a bit beside them', () => {
    let state = 99;
    const random = (below: number) => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
    for (let round = 0; round < 1500; round++) {
      const length = 54 + random(140);
      const [big, signed] = [random(2) === 0, random(2) === 0];
      const first = random(256 - length + 1);
      const start = big ? (first >> 3) * 8 + 7 - (first & 7) : first;
      const signal = codecOf(`A : ${start}|${length}@${big ? 0 : 1}${signed ? '-' : '+'} (1,0) [0|0]`, '', 32).signal(
        'A',
      );
      const data = Uint8Array.from({ length: 32 }, () => random(256));
      // By definition: bit by bit, the most significant first.
      let value = 0n;
      const places = Array.from({ length }, (_, i) => (big ? first + i : start + length - 1 - i));
      for (const at of places) value = value * 2n + BigInt((data[at >> 3]! >> (big ? 7 - (at & 7) : at & 7)) & 1);
      if (signed) value = BigInt.asIntN(length, value);
      const raw = signal.rawOf(data);
      expect(BigInt(raw)).toBe(value);
      expect(typeof raw).toBe(Number.isSafeInteger(Number(value)) ? 'number' : 'bigint');
      const inverse = data.map((byte) => byte ^ 0xff);
      signal.writeRaw(inverse, raw);
      const copied = data.map((byte) => byte ^ 0xff);
      signal.copy(data, copied);
      expect(inverse).toEqual(copied);
      const same = inverse.reduce(
        (sum, byte, i) => sum + [...(byte ^ data[i]! ^ 0xff).toString(2)].filter((c) => c === '1').length,
        0,
      );
      expect(same).toBe(length);
    }
  });
});

describe('floats', () => {
  it('may have 16 bits', () => {
    const codec = codecOf('A : 0|16@1- (1,0) [0|0]', 'SIG_VALTYPE_ 1 A : 1;');
    // 3E00 hex is 1.5 in IEEE 754's half precision.
    expect(codec.decode(bytes(0x00, 0x3e)).get('A')).toBe(1.5);
    expect([...codec.encode({ A: 1.5 })].slice(0, 2)).toEqual([0x00, 0x3e]);
  });

  it.each([
    [16, 65520],
    [32, 1e39],
    [64, Number.POSITIVE_INFINITY],
    [64, Number.NaN],
  ])('of %d bits cannot be %d', (length, value) => {
    const codec = codecOf(`A : 0|${length}@1- (1,0) [0|0]`, 'SIG_VALTYPE_ 1 A : 1;');
    expect(() => codec.encode({ A: value })).toThrow(outOfRange);
  });
});

describe('multiplexing', () => {
  it('holds for a multiplexer that is itself marked M', () => {
    // cases/can/nested_mux_marked_M.dbc: A1 with OUTER 1, INNER with OUTER 2, B0 with INNER 0.
    const codec = codecOf(
      `OUTER M : 0|8@1+ (1,0) [0|0]
       INNER M : 8|8@1+ (1,0) [0|0]
       A1 m1 : 8|8@1+ (1,0) [0|0]
       B0 m0 : 16|8@1+ (1,0) [0|0]`,
      'SG_MUL_VAL_ 1 INNER OUTER 2-2;\nSG_MUL_VAL_ 1 A1 OUTER 1-1;\nSG_MUL_VAL_ 1 B0 INNER 0-0;',
    );
    const read = (...data: number[]) => Object.fromEntries(codec.decode(bytes(...data, 0, 0, 0, 0, 0)));
    expect(read(1, 0, 7)).toEqual({ OUTER: 1, A1: 0 });
    expect(read(2, 0, 7)).toEqual({ OUTER: 2, INNER: 0, B0: 7 });
    expect(read(2, 1, 7)).toEqual({ OUTER: 2, INNER: 1 });
    expect(read(0, 0, 7)).toEqual({ OUTER: 0 });
  });

  it('holds for a signal that only SG_MUL_VAL_ calls multiplexed, and for ranges in several statements', () => {
    const codec = codecOf(
      'S : 0|8@1+ (1,0) [0|0]\nA : 8|8@1+ (1,0) [0|0]',
      'SG_MUL_VAL_ 1 A S 2-3;\nSG_MUL_VAL_ 1 A S 9-9;',
    );
    const has = (value: number) => codec.decode(bytes(value, 1)).has('A');
    expect([1, 2, 3, 4, 8, 9].filter(has)).toEqual([2, 3, 9]);
    expect(codec.signal('S').signal.isMultiplexer).toBe(true);
  });

  it('goes by the bits of a signed multiplexer', () => {
    const codec = codecOf('S M : 0|8@1- (1,0) [0|0]\nA m255 : 8|8@1+ (1,0) [0|0]');
    expect(codec.decode(bytes(255, 4))).toEqual(
      new Map([
        ['S', -1],
        ['A', 4],
      ]),
    );
    expect(codec.decode(bytes(127, 4)).has('A')).toBe(false);
  });

  it('goes down as many levels as there are', () => {
    const levels = Array.from({ length: 8 }, (_, i) => `L${i} ${i === 0 ? 'M' : `m${i}M`} : ${8 * i}|8@1+ (1,0) [0|0]`);
    const stated = Array.from({ length: 7 }, (_, i) => `SG_MUL_VAL_ 1 L${i + 1} L${i} ${i + 1}-${i + 1};`);
    const codec = codecOf(levels.join('\n'), stated.join('\n'));
    expect(codec.decode(bytes(1, 2, 3, 4, 5, 6, 7, 8)).size).toBe(8);
    expect([...codec.decode(bytes(1, 2, 0, 4, 5, 6, 7, 8)).keys()]).toEqual(['L0', 'L1', 'L2']);
  });
});
