import { ErrorCode, KerbError } from '../../../shared/base/errors.ts';
import type { Camera, Picture } from './camera.ts';

/** A camera that was closed has to be opened first. */
const LIMIT_MS = 20_000;
/** How often it is looked at what the camera does, in milliseconds. */
const LOOK_MS = 100;

/**
 * The next picture of a camera, as JPEG at its own size.
 * @throws KerbError CameraUnavailable when none comes, at once when the camera refuses the password
 */
export async function takeSnapshot(camera: Camera, limitMs = LIMIT_MS): Promise<Picture> {
  const next = Promise.withResolvers<Picture>();
  const unsubscribe = camera.subscribe({ format: 'jpeg', width: 0, height: 0, fps: 10 }, next.resolve);
  const fail = (message: string) =>
    next.reject(new KerbError(ErrorCode.CameraUnavailable, message, { camera: camera.name }));
  const endMs = performance.now() + limitMs;
  const timer = setInterval(() => {
    const { state } = camera.status();
    const leftMs = endMs - performance.now();
    // It is not asked before, so that nothing is left to wait for.
    if (state.state === 'Failed' && state.refusedForMs !== undefined && state.refusedForMs > leftMs) {
      fail(`camera ${camera.name} refuses the user and password of its source: ${state.reason}`);
    } else if (leftMs <= 0) {
      const why = state.state === 'Failed' ? `: ${state.reason}` : `: it is ${state.state}`;
      fail(`camera ${camera.name} gave no picture within ${limitMs / 1000} s${why}`);
    }
  }, LOOK_MS);
  try {
    return await next.promise;
  } finally {
    clearInterval(timer);
    unsubscribe();
  }
}
