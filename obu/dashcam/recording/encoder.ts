import { messageOf } from '../../../shared/base/errors.ts';
import type { Logger } from '../../../shared/base/log.ts';
import type { RawPicture } from '../capture/converter.ts';
import { FfmpegProcess, QUIET } from '../capture/ffmpeg.ts';
import { retryDelayMs } from '../capture/reader-state.ts';
import { redact } from '../capture/source.ts';
import { Mp4Cutter } from './mp4-boxes.ts';

export const CODECS = ['h264', 'mjpeg'] as const;
export type Codec = (typeof CODECS)[number];

/** `h264` is a tenth of the size; `mjpeg` costs less to make and needs no encoder under the GPL in ffmpeg. */
const ENCODERS: Readonly<Record<Codec, readonly string[]>> = {
  // Its sides have to be even.
  h264: [
    '-vf',
    'scale=trunc(iw/2)*2:trunc(ih/2)*2',
    '-c:v',
    'libx264',
    '-preset',
    'ultrafast',
    '-tune',
    'zerolatency',
    '-crf',
    '26',
    '-pix_fmt',
    'yuv420p',
  ],
  mjpeg: ['-c:v', 'mjpeg', '-q:v', '6', '-pix_fmt', 'yuvj420p'],
};

/** Pictures that may wait in the pipe of an encoder that is busy; more are lost, and counted. */
const MAX_WAITING = 3;
/** After this long without a picture what has been encoded is written out: the camera is gone, or the power soon is. */
const FLUSH_MS = 2000;
const FRAME = Buffer.from('FRAME\n');

export interface EncodedVideo {
  /** A new video begins: what its files start with. */
  head(bytes: Buffer): void;
  /** About one second of it, that plays after its head and after any other of its fragments. */
  fragment(bytes: Buffer): void;
}

/**
 * One ffmpeg that makes video of a camera's pictures, in fragments of one second. Its time is that of the pictures'
 * arrival, so that lost ones and a changing rate leave gaps and no drift.
 */
export class Encoder {
  readonly #options: { readonly ffmpegPath: string; readonly codec: Codec; readonly log: Logger };
  readonly #video: EncodedVideo;
  #process: FfmpegProcess | undefined;
  #headerLine = '';
  #waiting = 0;
  #lost = 0;
  #failures = 0;
  #retryAtMs = 0;
  #failure: string | undefined;
  #flush: NodeJS.Timeout | undefined;
  readonly #ending = new Set<Promise<void>>();

  constructor(options: { ffmpegPath: string; codec: Codec; log: Logger }, video: EncodedVideo) {
    this.#options = options;
    this.#video = video;
  }

  /** Why nothing is encoded; undefined while it is. */
  get failure(): string | undefined {
    return this.#failure;
  }

  /** Pictures that were not encoded, because ffmpeg was too slow or not there. */
  get lost(): number {
    return this.#lost;
  }

  push(picture: RawPicture): void {
    if (this.#process !== undefined && this.#headerLine !== picture.header.line) this.#finish(this.#process);
    if (this.#process === undefined) {
      if (picture.monotonicMs < this.#retryAtMs) {
        this.#lost++;
        return;
      }
      this.#launch(picture);
    }
    const stdin = this.#process?.stdin;
    if (stdin === undefined || this.#waiting >= MAX_WAITING) {
      this.#lost++;
      return;
    }
    this.#waiting++;
    stdin.cork();
    stdin.write(FRAME);
    stdin.write(picture.planes, () => this.#waiting--);
    stdin.uncork();
    clearTimeout(this.#flush);
    this.#flush = setTimeout(() => {
      if (this.#process !== undefined) this.#finish(this.#process);
    }, FLUSH_MS);
  }

  /** Writes out what has been encoded, and ends ffmpeg. */
  async stop(): Promise<void> {
    if (this.#process !== undefined) this.#finish(this.#process);
    await Promise.all(this.#ending);
  }

  #launch(picture: RawPicture): void {
    const process = new FfmpegProcess(this.#options.ffmpegPath, argumentsFor(this.#options.codec), redact);
    this.#process = process;
    this.#headerLine = picture.header.line;
    this.#waiting = 0;
    const cutter = new Mp4Cutter(
      (head) => this.#video.head(head),
      (fragment) => {
        if (this.#process === process) {
          this.#failures = 0;
          this.#failure = undefined;
        }
        this.#video.fragment(fragment);
      },
    );
    const onData = (chunk: Buffer) => {
      try {
        cutter.push(chunk);
      } catch (error) {
        this.#fail(process, messageOf(error));
        process.kill();
      }
    };
    process.start(onData, (reason) => this.#fail(process, reason));
    // Milliseconds instead of the camera's rate: it is the clock that the times of arrival are rounded to.
    process.stdin?.write(`${picture.header.line.replace(/ F\d+:\d+/, ' F1000:1')}\n`);
  }

  #fail(process: FfmpegProcess, reason: string): void {
    if (this.#process !== process) return;
    this.#process = undefined;
    clearTimeout(this.#flush);
    this.#failures += 1;
    this.#retryAtMs = performance.now() + retryDelayMs(this.#failures);
    if (this.#failure !== reason) this.#options.log.warn({ reason }, 'recording failed');
    this.#failure = reason;
  }

  /** Ends its input, so that it writes out what it has; it is killed when it does not come to its end. */
  #finish(process: FfmpegProcess): void {
    this.#process = undefined;
    clearTimeout(this.#flush);
    const ended = process.finish().finally(() => this.#ending.delete(ended));
    this.#ending.add(ended);
  }
}

function argumentsFor(codec: Codec): string[] {
  const fast = ['-probesize', '32', '-analyzeduration', '0', '-use_wallclock_as_timestamps', '1'];
  const input = ['-f', 'yuv4mpegpipe', ...fast, '-protocol_whitelist', 'pipe', '-i', 'pipe:0'];
  const everySecond = ['-g', '100000', '-force_key_frames', 'expr:gte(t,n_forced)'];
  // Pictures can come in the same millisecond on a busy machine, and mjpeg refuses two of one time.
  const times = 'settb=1/1000,setpts=if(isnan(PREV_OUTPTS)\\,PTS\\,max(PTS\\,PREV_OUTPTS+1))';
  // For pictures that are all key frames the time has to say where a fragment ends.
  const cut = codec === 'mjpeg' ? ['-frag_duration', '1000000'] : [];
  const flags = `empty_moov+default_base_moof${codec === 'mjpeg' ? '' : '+frag_keyframe'}`;
  const output = ['-movflags', flags, ...cut, '-flush_packets', '1', '-f', 'mp4', 'pipe:1'];
  return [
    ...QUIET,
    ...input,
    '-vf',
    times,
    '-enc_time_base',
    '1:1000',
    '-fps_mode',
    'passthrough',
    '-threads',
    '1',
    ...ENCODERS[codec],
    ...everySecond,
    ...output,
  ];
}
