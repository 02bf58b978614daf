import { describe, expect, it } from 'vitest';
import { ErrorCode } from '../../../shared/base/errors.ts';
import type { PictureRequest } from './camera.ts';
import { checkPictureRequest, pictureRequestKey } from './picture-request.ts';

const good: PictureRequest = { format: 'gray8', width: 320, height: 240, fps: 10 };

describe('checkPictureRequest', () => {
  it.each([
    good,
    { ...good, width: 0, height: 0 },
    { ...good, width: 16, height: 4096 },
    { ...good, width: 321, height: 241 },
    { ...good, fps: 60 },
    { ...good, fps: 0.1 },
  ])('takes %j', (request) => {
    expect(checkPictureRequest(request)).toEqual(request);
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
  ])('refuses %j', (request) => {
    expect(() => checkPictureRequest(request as PictureRequest)).toThrow(
      expect.objectContaining({ code: ErrorCode.BadCameraWish }),
    );
  });

  it('gives equal requests one key, and every other one its own', () => {
    expect(pictureRequestKey({ ...good })).toBe(pictureRequestKey(good));
    const others: PictureRequest[] = [
      { ...good, format: 'jpeg' },
      { ...good, width: 322 },
      { ...good, height: 242 },
      { ...good, fps: 11 },
      { ...good, width: 0, height: 0 },
    ];
    expect(new Set([good, ...others].map(pictureRequestKey)).size).toBe(6);
  });
});
