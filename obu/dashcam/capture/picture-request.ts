import { ErrorCode, KerbError } from '../../../shared/base/errors.ts';
import type { PictureRequest } from './camera.ts';

const MIN_SIDE = 16;
const MAX_SIDE = 4096;
const MAX_FPS = 60;
const FORMATS: readonly string[] = ['jpeg', 'gray8', 'rgb24'];

/**
 * Checks a request: a known format, both sides 0 (as the camera delivers) or both 16..4096 pixels, rate above 0 and at
 * most 60. Returns a copy, so that nobody changes a request that is being served.
 * @throws KerbError BadCameraWish
 */
export function checkPictureRequest(request: PictureRequest): PictureRequest {
  const { format, width, height, fps } = request;
  if (!FORMATS.includes(format)) {
    throw badPictureRequest(
      `format "${String(format).slice(0, 40)}" is not valid: it must be one of ${FORMATS.join(', ')}`,
      request,
    );
  }
  const native = width === 0 && height === 0;
  const sides = [width, height].every((side) => Number.isInteger(side) && side >= MIN_SIDE && side <= MAX_SIDE);
  if (!native && !sides) {
    const range = `both sides must be ${MIN_SIDE}..${MAX_SIDE} pixels, or both 0 for the camera's own size`;
    throw badPictureRequest(`a picture of ${width}x${height}: ${range}`, request);
  }
  if (!(fps > 0 && fps <= MAX_FPS))
    throw badPictureRequest(`${fps} pictures per second: must be above 0, at most ${MAX_FPS}`, request);
  return { format, width, height, fps };
}

function badPictureRequest(problem: string, request: PictureRequest): KerbError {
  return new KerbError(ErrorCode.BadCameraWish, `request for ${problem}`, { ...request });
}

/** Equal for equal requests; also their name in logs: `jpeg 640x480 at 10/s`. */
export function pictureRequestKey(request: PictureRequest): string {
  const size = request.width === 0 ? 'own size' : `${request.width}x${request.height}`;
  return `${request.format} ${size} at ${request.fps}/s`;
}
