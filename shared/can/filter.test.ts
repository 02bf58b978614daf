import { describe, expect, it } from 'vitest';
import { ErrorCode } from '../base/errors.ts';
import { compileFilters, ErrorFilter, IdFilter, parseFilter } from './filter.ts';
import { type CanFrame, dataFrame, makeFrame, remoteFrame } from './frame.ts';

function passes(filters: string[], frame: CanFrame): boolean {
  return compileFilters(filters.map(parseFilter))(frame);
}

describe('CAN filters', () => {
  it('passes ids that agree with the mask', () => {
    expect(passes(['100:700'], dataFrame(0x1ff, []))).toBe(true);
    expect(passes(['100:700'], dataFrame(0x200, []))).toBe(false);
    expect(passes(['123:7ff'], dataFrame(0x123, []))).toBe(true);
    expect(passes(['123:7FF'], dataFrame(0x124, []))).toBe(false);
  });

  it('passes ids that differ with ~', () => {
    expect(passes(['100~700'], dataFrame(0x1ff, []))).toBe(false);
    expect(passes(['100~700'], dataFrame(0x200, []))).toBe(true);
  });

  it('lets a plain mask pass 29-bit and remote frames whose low bits agree, as Linux does', () => {
    expect(passes(['123:7FF'], dataFrame(0x18000123, []))).toBe(true);
    expect(passes(['123:7FF'], remoteFrame(0x123))).toBe(true);
  });

  it('means the standard data frame alone with the flags in the mask', () => {
    expect(passes(['123:C00007FF'], dataFrame(0x123, []))).toBe(true);
    expect(passes(['123:C00007FF'], dataFrame(0x123, [], { ext: true }))).toBe(false);
    expect(passes(['123:C00007FF'], dataFrame(0x18000123, []))).toBe(false);
    expect(passes(['123:C00007FF'], remoteFrame(0x123))).toBe(false);
  });

  it('takes an id of eight digits as a 29-bit one', () => {
    expect(passes(['12345678:DFFFFFFF'], dataFrame(0x12345678, []))).toBe(true);
    expect(passes(['00000123:DFFFFFFF'], dataFrame(0x123, []))).toBe(false);
    expect(passes(['00000123:DFFFFFFF'], dataFrame(0x123, [], { ext: true }))).toBe(true);
    expect(passes(['98DAF110:DFFFFFFF'], dataFrame(0x18daf110, []))).toBe(true);
    expect(passes(['98DAF110:DFFFFFFF'], remoteFrame(0x18daf110))).toBe(false);
  });

  it('passes every data frame with 0:0 and none with 0~0', () => {
    for (const frame of [dataFrame(0, []), dataFrame(0x7ff, []), dataFrame(0x1fffffff, []), remoteFrame(5)]) {
      expect(passes(['0:0'], frame)).toBe(true);
      expect(passes(['0~0'], frame)).toBe(false);
    }
  });

  it('passes error frames with #mask only', () => {
    const error = makeFrame(0x4, 32, new Uint8Array(8));
    expect(passes(['0:0'], error)).toBe(false);
    expect(passes(['0~FFFFFFFF'], error)).toBe(false);
    expect(passes(['#4'], error)).toBe(true);
    expect(passes(['#FFFFFFFB'], error)).toBe(false);
    expect(passes(['#FFFFFFFF'], dataFrame(4, []))).toBe(false);
  });

  it('passes what any filter of the list passes, and nothing when the list is empty', () => {
    const match = compileFilters(['100:7FF', '3E9:C00007FF', '98DAF110:DFFFFFFF'].map(parseFilter));
    expect([0x100, 0x3e9, 0x3ea].map((id) => match(dataFrame(id, [])))).toEqual([true, true, false]);
    expect(match(dataFrame(0x18daf110, []))).toBe(true);
    expect(passes([], dataFrame(0x100, []))).toBe(false);
  });

  it('agrees with the definition for many ids and masks', () => {
    let seed = 7;
    const random = () => {
      seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
      return seed;
    };
    for (let round = 0; round < 2000; round++) {
      const id = random() >>> (random() % 24);
      const mask = random() >>> (random() % 24);
      const invert = random() % 2 === 0;
      const ext = random() % 2 === 0;
      const frame = dataFrame(random() & (ext ? 0x1fffffff : 0x7ff), [], { ext });
      const text = `${(id & 0x1fffffff).toString(16).padStart(8, '0')}${invert ? '~' : ':'}${mask.toString(16)}`;
      const wanted = BigInt(mask) & ~0x20000000n;
      const canId = BigInt(frame.id) | (ext ? 0x80000000n : 0n);
      const filterId = BigInt(id & 0x1fffffff) | 0x80000000n;
      expect(passes([text], frame), text).toBe(((canId & wanted) === (filterId & wanted)) !== invert);
    }
  });

  it('are in JSON as they were written, and say themselves what nobody wrote', () => {
    const texts = ['1:7ff', '00012345~1FFFFFFF', '#ff'];
    expect(JSON.stringify(texts.map(parseFilter))).toBe(JSON.stringify(texts));
    const made = [new IdFilter(0x123, 0xc00007ff), new IdFilter(0x98daf110, 0xdfffffff, true), new ErrorFilter(4)];
    expect(made.map(({ text }) => text)).toEqual(['123:C00007FF', '98DAF110~DFFFFFFF', '#004']);
    expect(made.map(({ text }) => parseFilter(text))).toEqual(made);
  });

  it.each([
    ['', 0, 'no ":"'],
    ['123', 3, 'no ":"'],
    [':7FF', 0, 'id is missing'],
    ['123:', 4, 'mask is missing'],
    ['12x:7FF', 2, '"x" in the id'],
    ['123:7GF', 5, '"G" in the mask'],
    ['123:7FF,200:7FF', 7, '"," in the mask'],
    [' 123:7FF', 0, '" " in the id'],
    ['123456789:7FF', 8, 'more than eight'],
    ['123:123456789', 12, 'more than eight'],
    ['0x1:7FF', 1, '"x" in the id'],
    ['-1:7FF', 0, '"-" in the id'],
    ['800:C00007FF', 0, 'eight digits'],
    ['20000004:FFFFFFFF', 0, '#MASK'],
    ['#', 1, 'error mask is missing'],
    ['#xyz', 1, 'error mask'],
    ['j', 1, 'no ":"'],
  ])('refuses "%s" and names the character', (text, position, what) => {
    expect(() => parseFilter(text)).toThrow(
      expect.objectContaining({
        code: ErrorCode.BadCanFilter,
        message: expect.stringContaining(what),
        context: expect.objectContaining({ position, filter: text }),
      }),
    );
  });
});
