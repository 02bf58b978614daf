/**
 * A camera whose one reader is ffmpeg.
 *
 * One reader process delivers whole pictures at the camera's own size over a pipe, and each distinct request has one
 * converter process of its own that gets only the pictures it is due. The other way, one ffmpeg with an output per
 * request, would move fewer bytes, but has to close and open the camera whenever the set of requests changes: half a
 * second on V4L2, a wait for the next key frame on RTSP, for every consumer and for safety functions too. And its
 * slowest output would hold up all the others. Here a consumer that comes, goes or is slow disturbs nobody.
 *
 * The price is one copy into this process per picture of the camera and one out of it per picture and converter:
 * 14 MB/s for 640x480 at 30/s. Grey pictures at the camera's own size cost no converter at all.
 */
import type { Logger } from '../../../shared/base/log.ts';
import type { RawCamera } from '../recording/recorder.ts';
import type { Camera, CameraState, CameraStatus, Picture, PictureRequest } from './camera.ts';
import { Conversion } from './conversion.ts';
import type { RawPicture } from './converter.ts';
import { cancelled, checkFfmpeg } from './ffmpeg.ts';
import { checkPictureRequest, pictureRequestKey } from './picture-request.ts';
import { CameraReader, type CameraTiming } from './reader.ts';
import { waitText } from './refusal.ts';
import { type CameraSource, describeSource, parseSource } from './source.ts';

export interface CameraOptions {
  readonly name: string;
  /** `v4l2:/dev/video0[?size=WxH&fps=N&format=mjpeg]`, `rtsp://…`, `file:/PATH` (loops) or `sim:/PATH.sock`. */
  readonly source: string;
  readonly log: Logger;
  /** Default: `ffmpeg` on the PATH. */
  readonly ffmpegPath?: string;
  readonly timing?: Partial<CameraTiming>;
}

const TIMING: CameraTiming = { firstPictureMs: 15_000, stallMs: 5000, lingerMs: 2000, refusalMs: 10_000 };

/** Status counts the camera's pictures over this long. */
const FPS_WINDOW_MS = 3000;

/** A camera, not yet started. @throws KerbError BadCameraSource */
export function createCamera(options: CameraOptions): Camera & RawCamera {
  return new FfmpegCamera(options, parseSource(options.source));
}

class FfmpegCamera implements Camera, RawCamera {
  readonly name: string;
  readonly #source: CameraSource;
  readonly #log: Logger;
  readonly #ffmpegPath: string;
  readonly #timing: CameraTiming;
  readonly #reader: CameraReader;
  readonly #conversions = new Map<string, Conversion>();
  readonly #watchers = new Set<{ readonly listener: (picture: RawPicture) => boolean }>();
  /** Of conversions that are gone. */
  #lostBefore = 0;
  /** Parts that are being stopped; `stop()` waits for them. */
  readonly #ending = new Set<Promise<void>>();
  /** Set from start() to stop(). */
  #life: AbortController | undefined;
  #ready = false;
  #linger: NodeJS.Timeout | undefined;
  /** When the pictures of the last seconds came, monotonic milliseconds. */
  #arrivals: number[] = [];

  constructor(options: CameraOptions, source: CameraSource) {
    this.name = options.name;
    this.#source = source;
    this.#log = options.log.child({ camera: options.name });
    this.#ffmpegPath = options.ffmpegPath ?? 'ffmpeg';
    this.#timing = { ...TIMING, ...options.timing };
    const parts = { ffmpegPath: this.#ffmpegPath, source, timing: this.#timing, log: this.#log };
    this.#reader = new CameraReader(parts, (picture) => this.#take(picture));
  }

  /**
   * Makes sure that pictures can be read; the camera itself is opened when its first consumer comes, and may be absent.
   * @throws KerbError CameraUnavailable when ffmpeg is missing or too old, Cancelled when stop() comes first
   */
  async start(): Promise<void> {
    if (this.#life !== undefined) return;
    const life = new AbortController();
    this.#life = life;
    const check = checkFfmpeg(this.#ffmpegPath, life.signal);
    this.#end(check.catch(() => {}));
    try {
      await check;
    } catch (error) {
      if (this.#life === life) this.#life = undefined;
      throw error;
    }
    if (this.#life !== life) throw cancelled();
    this.#ready = true;
    if (this.#isWanted) this.#reader.start();
  }

  /** Ends all processes of this camera and all subscriptions; returns when they are gone. */
  async stop(): Promise<void> {
    this.#life?.abort();
    this.#life = undefined;
    this.#ready = false;
    clearTimeout(this.#linger);
    for (const conversion of this.#conversions.values()) this.#end(conversion.stop());
    this.#conversions.clear();
    this.#watchers.clear();
    this.#end(this.#reader.stop());
    await Promise.all(this.#ending);
  }

  subscribe(request: PictureRequest, listener: (picture: Picture) => void): () => void {
    const checked = checkPictureRequest(request);
    const key = pictureRequestKey(checked);
    let conversion = this.#conversions.get(key);
    if (conversion === undefined) {
      const parts = { camera: this.name, ffmpegPath: this.#ffmpegPath, request: checked, timing: this.#timing };
      conversion = new Conversion({ ...parts, log: this.#log.child({ part: key }) });
      this.#conversions.set(key, conversion);
    }
    const remove = conversion.add(listener);
    clearTimeout(this.#linger);
    if (this.#ready) this.#reader.start();
    return () => {
      remove();
      if (conversion.consumers === 0 && this.#conversions.get(key) === conversion) this.#drop(key, conversion);
    };
  }

  watch(listener: (picture: RawPicture) => boolean): () => void {
    const watcher = { listener };
    this.#watchers.add(watcher);
    clearTimeout(this.#linger);
    if (this.#ready) this.#reader.start();
    return () => {
      if (this.#watchers.delete(watcher)) this.#restIfUnwanted();
    };
  }

  get #isWanted(): boolean {
    return this.#conversions.size > 0 || this.#watchers.size > 0;
  }

  status(): CameraStatus {
    const conversions = [...this.#conversions.values()];
    return {
      name: this.name,
      source: describeSource(this.#source),
      simulated: this.#source.kind === 'sim',
      state: this.#state(),
      consumers: conversions.reduce((sum, conversion) => sum + conversion.consumers, this.#watchers.size),
      fps: this.#fps(),
      lost: conversions.reduce((sum, conversion) => sum + conversion.lost, this.#lostBefore),
    };
  }

  #state(): CameraState {
    const reader = this.#reader.state;
    if (reader.state === 'Failed') {
      const { refusedForMs } = this.#reader;
      if (refusedForMs === 0) return { state: 'Failed', reason: reader.reason };
      const reason = `${reader.reason}; asked again in ${waitText(refusedForMs)}`;
      return { state: 'Failed', reason, refusedForMs };
    }
    for (const [key, { failure }] of this.#conversions) {
      if (failure !== undefined) return { state: 'Failed', reason: `conversion to ${key}: ${failure}` };
    }
    return { state: reader.state };
  }

  #fps(): number {
    this.#forgetArrivals(performance.now());
    const [first, last] = [this.#arrivals[0], this.#arrivals.at(-1)];
    if (first === undefined || last === undefined || first === last) return 0;
    return Math.round(((this.#arrivals.length - 1) * 10_000) / (last - first)) / 10;
  }

  #take(picture: RawPicture): boolean {
    this.#forgetArrivals(picture.monotonicMs);
    this.#arrivals.push(picture.monotonicMs);
    let kept = false;
    for (const conversion of this.#conversions.values()) kept = conversion.push(picture) || kept;
    for (const { listener } of this.#watchers) kept = listener(picture) || kept;
    return kept;
  }

  #forgetArrivals(nowMs: number): void {
    while (this.#arrivals.length > 0 && this.#arrivals[0]! < nowMs - FPS_WINDOW_MS) this.#arrivals.shift();
  }

  #drop(key: string, conversion: Conversion): void {
    this.#conversions.delete(key);
    this.#lostBefore += conversion.lost;
    this.#end(conversion.stop());
    this.#restIfUnwanted();
  }

  #restIfUnwanted(): void {
    if (this.#isWanted) return;
    clearTimeout(this.#linger);
    this.#linger = setTimeout(() => this.#end(this.#reader.stop()), this.#timing.lingerMs);
  }

  #end(work: Promise<void>): void {
    const ending = work.finally(() => this.#ending.delete(ending));
    this.#ending.add(ending);
  }
}
