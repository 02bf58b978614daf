import { describe, expect, it } from 'vitest';
import { ErrorCode } from '../../shared/base/errors.ts';
import { parseFormat } from './dashcam-command.ts';

describe('parseFormat', () => {
  it('reads size and rate', () => {
    expect(parseFormat('640x480', '15')).toEqual({ width: 640, height: 480, fps: 15 });
    expect(parseFormat('1281x721', '12.5')).toEqual({ width: 1281, height: 721, fps: 12.5 });
  });

  it.each([
    ['640', '15'],
    ['640X480', '15'],
    ['32x32', '15'],
    ['64x47', '15'],
    ['4097x480', '15'],
    ['640x480', '0'],
    ['640x480', '-1'],
    ['640x480', '61'],
    ['640x480', 'fast'],
    ['640x480', ''],
  ])('refuses %s at %s', (size, fps) => {
    expect(() => parseFormat(size, fps)).toThrow(expect.objectContaining({ code: ErrorCode.BadConfig }));
  });
});
