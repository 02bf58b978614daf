import { describe, expect, it } from 'vitest';
import { parseSize } from './size.ts';

describe('a size', () => {
  it.each([
    ['256m', 268_435_456],
    ['1gb', 1_073_741_824],
    ['1.5G', 1_610_612_736],
    ['64 kb', 65_536],
    ['100b', 100],
    ['7', 7],
    [7, 7],
  ])('%j is %i bytes', (text, bytes) => {
    expect(parseSize(text)).toBe(bytes);
  });

  it.each(['', 'm', '-1m', '1mm', '1 e3', '1t', '0x10', '9999999999g'])('%j is none', (text) => {
    expect(parseSize(text)).toBeUndefined();
  });
});
