import { describe, expect, it } from 'vitest';
import { ErrorCode } from '../../../shared/base/errors.ts';
import type { CameraWish } from './camera.ts';
import { checkWish, wishKey } from './wish.ts';

const good: CameraWish = { format: 'gray8', width: 320, height: 240, fps: 10 };

describe('checkWish', () => {
  it.each([
    good,
    { ...good, width: 0, height: 0 },
    { ...good, width: 16, height: 4096 },
    { ...good, width: 321, height: 241 },
    { ...good, fps: 60 },
    { ...good, fps: 0.1 },
  ])('takes %j', (wish) => {
    expect(checkWish(wish)).toEqual(wish);
  });

  it.each([
    { ...good, format: 'png' },
    { ...good, format: undefined },
    { ...good, width: 15 },
    { ...good, height: 4097 },
    { ...good, width: 0 },
    { ...good, height: 0 },
    { ...good, width: -320 },
    { ...good, width: 320.5 },
    { ...good, width: Number.NaN },
    { ...good, fps: 0 },
    { ...good, fps: -1 },
    { ...good, fps: 60.1 },
    { ...good, fps: Number.NaN },
    { ...good, fps: Number.POSITIVE_INFINITY },
  ])('refuses %j', (wish) => {
    expect(() => checkWish(wish as CameraWish)).toThrow(expect.objectContaining({ code: ErrorCode.BadCameraWish }));
  });

  it('gives equal wishes one key, and every other one its own', () => {
    expect(wishKey({ ...good })).toBe(wishKey(good));
    const others: CameraWish[] = [
      { ...good, format: 'jpeg' },
      { ...good, width: 322 },
      { ...good, height: 242 },
      { ...good, fps: 11 },
      { ...good, width: 0, height: 0 },
    ];
    expect(new Set([good, ...others].map(wishKey)).size).toBe(6);
  });
});
