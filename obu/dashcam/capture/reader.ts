import { FineClock } from '../../../shared/base/clock.ts';
import { messageOf } from '../../../shared/base/errors.ts';
import type { Logger } from '../../../shared/base/log.ts';
import type { RawPicture } from './converter.ts';
import { FfmpegProcess, QUIET } from './ffmpeg.ts';
import { nextReaderState, type ReaderEvent, type ReaderState, retryDelayMs } from './reader-state.ts';
import { isRefusal, refusalDelayMs } from './refusal.ts';
import { type CameraSource, inputArguments, redactorOf } from './source.ts';
import { Y4mReader } from './y4m.ts';

export interface CameraTiming {
  /** Milliseconds from the start of ffmpeg to the first picture at most; network cameras wait for a key frame. */
  readonly firstPictureMs: number;
  /** Milliseconds without a picture after which a running camera counts as failed. */
  readonly stallMs: number;
  /** Milliseconds that the camera stays open after its last consumer has gone. */
  readonly lingerMs: number;
  /** Milliseconds until a camera that refused the password is asked again; it grows with each refusal. */
  readonly refusalMs: number;
}

/**
 * The one process that opens a camera: ffmpeg, which delivers whole pictures at the camera's own size as YUV4MPEG2 with
 * full-range 4:2:0 planes. Restarts it with back-off when it ends or sends nothing.
 */
export class CameraReader {
  readonly #ffmpegPath: string;
  readonly #source: CameraSource;
  readonly #timing: CameraTiming;
  readonly #log: Logger;
  readonly #onPicture: (picture: RawPicture) => boolean;
  readonly #clock = new FineClock();
  #state: ReaderState = { state: 'Idle' };
  #process: FfmpegProcess | undefined;
  /** Settles when the last process is gone: a camera must never be opened twice. */
  #gone: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  /** Refusals of the password in a row. They count on while nobody wants pictures: the camera counts them, too. */
  #refusals = 0;
  #refusal = '';
  /** Not asked before, on the monotonic clock. */
  #askAtMs = 0;

  /** `onPicture` returns whether it keeps the picture's planes. */
  constructor(
    options: { ffmpegPath: string; source: CameraSource; timing: CameraTiming; log: Logger },
    onPicture: (picture: RawPicture) => boolean,
  ) {
    this.#ffmpegPath = options.ffmpegPath;
    this.#source = options.source;
    this.#timing = options.timing;
    this.#log = options.log;
    this.#onPicture = onPicture;
  }

  get state(): ReaderState {
    return this.#state;
  }

  start(): void {
    if (this.#state.state !== 'Idle') return;
    this.#advance({ event: 'wanted' });
    const waitMs = this.refusedForMs;
    if (waitMs === 0) {
      this.#launch();
      return;
    }
    this.#advance({ event: 'failed', reason: this.#refusal });
    this.#timer = setTimeout(() => this.#launch(), waitMs);
  }

  /** Milliseconds until a camera that refused the password is asked again; 0 for any other. */
  get refusedForMs(): number {
    return Math.max(0, this.#askAtMs - performance.now());
  }

  async stop(): Promise<void> {
    this.#advance({ event: 'unwanted' });
    clearTimeout(this.#timer);
    const process = this.#process;
    this.#process = undefined;
    if (process !== undefined) this.#gone = Promise.all([this.#gone, process.stop()]).then(() => undefined);
    await this.#gone;
  }

  #launch(): void {
    const process = new FfmpegProcess(this.#ffmpegPath, this.#arguments(), redactorOf(this.#source));
    this.#process = process;
    void this.#gone.then(() => {
      if (this.#process === process) this.#run(process);
    });
  }

  #run(process: FfmpegProcess): void {
    const y4m = new Y4mReader((planes, header) => {
      if (this.#process !== process) return false;
      this.#advance({ event: 'picture' });
      this.#refusals = 0;
      this.#watch(process, this.#timing.stallMs);
      const monotonicMs = performance.now();
      return this.#onPicture({ planes, header, timeUs: this.#clock.wallUs(monotonicMs), monotonicMs });
    });
    const onData = (chunk: Buffer) => {
      if (this.#process !== process) return;
      try {
        y4m.push(chunk);
      } catch (error) {
        this.#fail(process, messageOf(error));
      }
    };
    process.start(onData, (reason) => this.#fail(process, reason));
    this.#watch(process, this.#timing.firstPictureMs);
  }

  #arguments(): string[] {
    const planes = ['-vf', 'scale=out_range=full', '-pix_fmt', 'yuvj420p', '-f', 'yuv4mpegpipe', 'pipe:1'];
    const input = ['-nostdin', ...inputArguments(this.#source)];
    return [...QUIET, ...input, '-map', '0:v:0', '-fps_mode', 'passthrough', '-flush_packets', '1', ...planes];
  }

  #watch(process: FfmpegProcess, ms: number): void {
    clearTimeout(this.#timer);
    const problem = `no picture for ${ms / 1000} s`;
    this.#timer = setTimeout(() => this.#fail(process, problem), ms);
  }

  #fail(process: FfmpegProcess, reason: string): void {
    if (this.#process !== process) return;
    this.#process = undefined;
    process.kill();
    this.#gone = process.stop();
    this.#advance({ event: 'failed', reason });
    clearTimeout(this.#timer);
    if (this.#state.state !== 'Failed') return;
    this.#timer = setTimeout(() => this.#launch(), this.#delayMs(reason, this.#state.failures));
  }

  /** Until the next try. */
  #delayMs(reason: string, failures: number): number {
    if (!isRefusal(reason)) return retryDelayMs(failures);
    this.#refusals++;
    const delayMs = refusalDelayMs(this.#refusals, this.#timing.refusalMs);
    this.#refusal = reason;
    this.#askAtMs = performance.now() + delayMs;
    this.#log.warn({ reason, count: this.#refusals, waitMs: delayMs }, 'camera refused the password');
    return delayMs;
  }

  #advance(event: ReaderEvent): void {
    const before = this.#state;
    const now = nextReaderState(before, event, performance.now());
    if (now === before) return;
    this.#state = now;
    if (now.state === 'Failed') {
      const known = before.state === 'Failed' && before.reason === now.reason;
      this.#log[known ? 'debug' : 'warn']({ reason: now.reason, count: now.failures }, 'camera failed');
    } else {
      this.#log.info({ state: now.state }, 'camera state changed');
    }
  }
}
