import { ErrorCode, KerbError } from '../../../shared/base/errors.ts';
import type { CameraWish } from './camera.ts';

const MIN_SIDE = 16;
const MAX_SIDE = 4096;
const MAX_FPS = 60;
const FORMATS: readonly string[] = ['jpeg', 'gray8', 'rgb24'];

/**
 * Checks a wish: a known format, both sides 0 (as the camera delivers) or both 16..4096 pixels, rate above 0 and at
 * most 60. Returns a copy, so that nobody changes a wish that is being served.
 * @throws KerbError BadCameraWish
 */
export function checkWish(wish: CameraWish): CameraWish {
  const { format, width, height, fps } = wish;
  if (!FORMATS.includes(format)) {
    throw badWish(
      `format "${String(format).slice(0, 40)}" is not valid: it must be one of ${FORMATS.join(', ')}`,
      wish,
    );
  }
  const native = width === 0 && height === 0;
  const sides = [width, height].every((side) => Number.isInteger(side) && side >= MIN_SIDE && side <= MAX_SIDE);
  if (!native && !sides) {
    const range = `both sides must be ${MIN_SIDE}..${MAX_SIDE} pixels, or both 0 for the camera's own size`;
    throw badWish(`a picture of ${width}x${height}: ${range}`, wish);
  }
  if (!(fps > 0 && fps <= MAX_FPS))
    throw badWish(`${fps} pictures per second: must be above 0, at most ${MAX_FPS}`, wish);
  return { format, width, height, fps };
}

function badWish(problem: string, wish: CameraWish): KerbError {
  return new KerbError(ErrorCode.BadCameraWish, `wish for ${problem}`, { ...wish });
}

/** Equal for equal wishes; also their name in logs: `jpeg 640x480 at 10/s`. */
export function wishKey(wish: CameraWish): string {
  const size = wish.width === 0 ? 'own size' : `${wish.width}x${wish.height}`;
  return `${wish.format} ${size} at ${wish.fps}/s`;
}
