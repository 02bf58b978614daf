import { describe, expect, it } from 'vitest';
import { fromTaskOutput, toPgm, toTaskInput } from './picture.ts';

const picture = { width: 3, height: 2, pixels: Uint8Array.of(1, 2, 3, 4, 5, 6) };

describe('a grey picture', () => {
  it('has its size in front when it goes to the task', () => {
    expect([...toTaskInput(picture)]).toEqual([3, 0, 0, 0, 2, 0, 0, 0, 1, 2, 3, 4, 5, 6]);
  });

  it('comes back from the task as it went', () => {
    const back = fromTaskOutput(toTaskInput(picture));
    expect({ ...back, pixels: [...back.pixels] }).toEqual({ ...picture, pixels: [1, 2, 3, 4, 5, 6] });
  });

  it.each([0, 7, 13, 15])('is none when it has %i bytes', (length) => {
    const bytes = Buffer.alloc(length);
    toTaskInput(picture).copy(bytes);
    expect(() => fromTaskOutput(bytes)).toThrow(/no header|not a picture/);
  });

  it('becomes a PGM file', () => {
    expect(toPgm(picture).toString('latin1')).toBe('P5\n3 2\n255\n\x01\x02\x03\x04\x05\x06');
  });
});
