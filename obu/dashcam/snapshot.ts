import { ErrorCode, KerbError } from '../../shared/errors.ts';
import type { Camera, Picture } from './camera.ts';

/** A camera that was closed has to be opened first. */
const LIMIT_MS = 20_000;

/**
 * The next picture of a camera, as JPEG at its own size.
 * @throws KerbError CameraUnavailable when none comes
 */
export async function takeSnapshot(camera: Camera, limitMs = LIMIT_MS): Promise<Picture> {
  const next = Promise.withResolvers<Picture>();
  const unsubscribe = camera.subscribe({ format: 'jpeg', width: 0, height: 0, fps: 10 }, next.resolve);
  const timer = setTimeout(() => {
    const { state } = camera.status();
    const why = state.state === 'Failed' ? `: ${state.reason}` : '';
    const message = `camera ${camera.name} gave no picture within ${limitMs / 1000} s${why}`;
    next.reject(new KerbError(ErrorCode.CameraUnavailable, message, { camera: camera.name }));
  }, limitMs);
  try {
    return await next.promise;
  } finally {
    clearTimeout(timer);
    unsubscribe();
  }
}
