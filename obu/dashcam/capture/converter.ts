import { messageOf } from '../../../shared/base/errors.ts';
import type { Logger } from '../../../shared/base/log.ts';
import type { PictureRequest } from './camera.ts';
import { MpjpegCutter, type PictureCutter, RawCutter } from './cutter.ts';
import { FfmpegProcess, QUIET } from './ffmpeg.ts';
import { retryDelayMs } from './reader-state.ts';
import { redact } from './source.ts';
import type { Y4mHeader } from './y4m.ts';

/** One picture as the reader delivers it: full-range planes, 4:2:0, at the camera's own size. */
export interface RawPicture {
  readonly planes: Buffer;
  readonly header: Y4mHeader;
  /** Microseconds since 1970 when the OBU had the whole picture. */
  readonly timeUs: number;
  /** The same moment on the monotonic clock, milliseconds. */
  readonly monotonicMs: number;
}

export interface NumberedPicture {
  readonly raw: RawPicture;
  readonly sequence: number;
}

/** How long a conversion may give nothing, in milliseconds: its first picture, and any later one. */
export interface ConverterTiming {
  readonly firstPictureMs: number;
  readonly stallMs: number;
}

/** One is being converted while the next waits in the pipe; more would only add delay. */
const MAX_IN_FLIGHT = 2;
/** ffmpeg's scale from 2 (best) to 31. */
const JPEG_QUALITY = '4';
const FRAME = Buffer.from('FRAME\n');

/**
 * One ffmpeg that scales and encodes pictures for one request. Each picture that goes in comes out once, in order, so
 * number and time travel beside it. When it is slower than the camera it converts the newest picture it can get; the
 * ones in between are lost, and nobody waits.
 */
export class Converter {
  readonly #ffmpegPath: string;
  readonly #request: PictureRequest;
  readonly #timing: ConverterTiming;
  readonly #log: Logger;
  readonly #onPicture: (data: Buffer, of: NumberedPicture) => void;
  #process: FfmpegProcess | undefined;
  /** This process has given a picture. To load ffmpeg alone takes seconds on a small computer that is busy. */
  #isConverting = false;
  #headerLine = '';
  #inFlight: NumberedPicture[] = [];
  #newest: NumberedPicture | undefined;
  #lost = 0;
  #failures = 0;
  #retryAtMs = 0;
  #failure: string | undefined;
  readonly #ending = new Set<Promise<void>>();

  constructor(
    options: { ffmpegPath: string; request: PictureRequest; timing: ConverterTiming; log: Logger },
    onPicture: (data: Buffer, of: NumberedPicture) => void,
  ) {
    this.#ffmpegPath = options.ffmpegPath;
    this.#request = options.request;
    this.#timing = options.timing;
    this.#log = options.log;
    this.#onPicture = onPicture;
  }

  /** Why no pictures come out; undefined while they do. */
  get failure(): string | undefined {
    return this.#failure;
  }

  /** Pictures that were not converted, because ffmpeg was too slow or not there. */
  get lost(): number {
    return this.#lost;
  }

  push(picture: NumberedPicture): void {
    const nowMs = picture.raw.monotonicMs;
    const oldest = this.#inFlight[0];
    const timeoutMs = this.#isConverting ? this.#timing.stallMs : this.#timing.firstPictureMs;
    if (oldest !== undefined && nowMs - oldest.raw.monotonicMs > timeoutMs) {
      this.#fail(this.#process!, `converted nothing for ${timeoutMs / 1000} s`, nowMs);
    }
    // The camera came back with another size: begin anew.
    if (this.#process !== undefined && this.#headerLine !== picture.raw.header.line) this.#end(this.#process);
    if (this.#process === undefined) {
      if (nowMs < this.#retryAtMs) {
        this.#lost++;
        return;
      }
      this.#launch(picture.raw.header);
    }
    if (this.#newest !== undefined) this.#lost++;
    this.#newest = picture;
    this.#feed();
  }

  async stop(): Promise<void> {
    if (this.#process !== undefined) this.#end(this.#process);
    await Promise.all(this.#ending);
  }

  #launch(header: Y4mHeader): void {
    const process = new FfmpegProcess(this.#ffmpegPath, converterArguments(this.#request), redact);
    this.#process = process;
    this.#isConverting = false;
    this.#headerLine = header.line;
    const cutter = this.#cutter(header, (data) => {
      const of = this.#process === process ? this.#inFlight.shift() : undefined;
      if (of === undefined) return;
      this.#isConverting = true;
      this.#failures = 0;
      this.#failure = undefined;
      this.#feed();
      this.#onPicture(data, of);
    });
    const onData = (chunk: Buffer) => {
      if (this.#process !== process) return;
      try {
        cutter.push(chunk);
      } catch (error) {
        this.#fail(process, messageOf(error), performance.now());
      }
    };
    process.start(onData, (reason) => this.#fail(process, reason, performance.now()));
    process.stdin?.write(`${header.line}\n`);
  }

  #cutter(header: Y4mHeader, onPicture: (data: Buffer) => void): PictureCutter {
    const pixels = (this.#request.width || header.width) * (this.#request.height || header.height);
    if (this.#request.format === 'jpeg') return new MpjpegCutter(onPicture);
    return new RawCutter(this.#request.format === 'rgb24' ? pixels * 3 : pixels, onPicture);
  }

  #feed(): void {
    const picture = this.#newest;
    const stdin = this.#process?.stdin;
    if (picture === undefined || stdin === undefined || this.#inFlight.length >= MAX_IN_FLIGHT) return;
    this.#newest = undefined;
    this.#inFlight.push(picture);
    stdin.cork();
    stdin.write(FRAME);
    stdin.write(picture.raw.planes);
    stdin.uncork();
  }

  #fail(process: FfmpegProcess, reason: string, nowMs: number): void {
    if (this.#process !== process) return;
    this.#end(process);
    this.#failures += 1;
    this.#retryAtMs = nowMs + retryDelayMs(this.#failures);
    if (this.#failure !== reason) this.#log.warn({ reason }, 'conversion of pictures failed');
    this.#failure = reason;
  }

  #end(process: FfmpegProcess): void {
    this.#process = undefined;
    this.#lost += this.#inFlight.length + (this.#newest === undefined ? 0 : 1);
    this.#inFlight = [];
    this.#newest = undefined;
    const ended = process.stop().finally(() => this.#ending.delete(ended));
    this.#ending.add(ended);
  }
}

function converterArguments(request: PictureRequest): string[] {
  // Not with `-fflags nobuffer`: it throws away the picture that was probed, and every later one got the wrong number.
  const fast = ['-probesize', '32', '-analyzeduration', '0'];
  const input = ['-f', 'yuv4mpegpipe', ...fast, '-protocol_whitelist', 'pipe', '-i', 'pipe:0'];
  const scale = request.width === 0 ? [] : ['-vf', `scale=${request.width}:${request.height}:flags=bilinear`];
  // One thread: a second one would hold a picture back, and pictures of a dashcam are small.
  const common = ['-fps_mode', 'passthrough', '-flush_packets', '1', '-threads', '1', ...scale];
  return [...QUIET, '-filter_threads', '1', ...input, ...common, ...encoderArguments(request.format), 'pipe:1'];
}

function encoderArguments(format: PictureRequest['format']): string[] {
  switch (format) {
    case 'jpeg':
      return ['-pix_fmt', 'yuvj420p', '-c:v', 'mjpeg', '-q:v', JPEG_QUALITY, '-f', 'mpjpeg'];
    case 'gray8':
      return ['-pix_fmt', 'gray', '-f', 'rawvideo'];
    case 'rgb24':
      return ['-pix_fmt', 'rgb24', '-f', 'rawvideo'];
  }
}
