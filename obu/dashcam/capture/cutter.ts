import { ErrorCode, KerbError } from '../../../shared/base/errors.ts';

/** Cuts the byte stream of a conversion into pictures. @throws KerbError CameraUnavailable; unusable from then on */
export interface PictureCutter {
  push(chunk: Buffer): void;
}

/** Pictures of one fixed size, one after the other (ffmpeg's `rawvideo`). */
export class RawCutter implements PictureCutter {
  readonly #size: number;
  readonly #onPicture: (data: Buffer) => void;
  #picture: Buffer | undefined;
  #filled = 0;

  constructor(size: number, onPicture: (data: Buffer) => void) {
    this.#size = size;
    this.#onPicture = onPicture;
  }

  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      this.#picture ??= Buffer.allocUnsafeSlow(this.#size);
      const copied = chunk.copy(this.#picture, this.#filled, at);
      at += copied;
      this.#filled += copied;
      if (this.#filled < this.#size) return;
      const whole = this.#picture;
      this.#picture = undefined;
      this.#filled = 0;
      this.#onPicture(whole);
    }
  }
}

/** The line that ffmpeg's mpjpeg muxer puts in front of each picture; `ffmpeg` is its default boundary tag. */
const BOUNDARY = '--ffmpeg';
const MAX_LINE = 256;
const MAX_JPEG = 64 * 1024 * 1024;

/**
 * JPEG files out of ffmpeg's `mpjpeg` stream: `--ffmpeg`, `Content-type`, `Content-length`, an empty line, the file, an
 * empty line. The length is given, so nothing inside the file (embedded thumbnails with their own end marker, 0xFFD9
 * inside an application segment) can cut it in the wrong place; start and end marker (ITU-T T.81, B.1.1.3) are checked
 * all the same, to notice at once when the stream is not what it should be.
 */
export class MpjpegCutter implements PictureCutter {
  readonly #onPicture: (data: Buffer) => void;
  #line = '';
  #length: number | undefined;
  #inHeaders = false;
  #picture: Buffer | undefined;
  #filled = 0;

  constructor(onPicture: (data: Buffer) => void) {
    this.#onPicture = onPicture;
  }

  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) at = this.#picture === undefined ? this.#takeLine(chunk, at) : this.#takeJpeg(chunk, at);
  }

  #takeLine(chunk: Buffer, at: number): number {
    const end = chunk.indexOf(0x0a, at);
    this.#line += chunk.toString('latin1', at, end < 0 ? Math.min(chunk.length, at + MAX_LINE + 1) : end);
    if (this.#line.length > MAX_LINE) throw badStream(`a header line of more than ${MAX_LINE} bytes`);
    if (end < 0) return chunk.length;
    const line = this.#line.replace(/\r$/, '');
    this.#line = '';
    this.#header(line);
    return end + 1;
  }

  #header(line: string): void {
    if (!this.#inHeaders) {
      if (line === BOUNDARY) this.#inHeaders = true;
      else if (line !== '') throw badStream(`"${line.slice(0, 40)}" where a boundary belongs`);
      return;
    }
    if (line === '') {
      if (this.#length === undefined) throw badStream('a picture without Content-length');
      this.#picture = Buffer.allocUnsafeSlow(this.#length);
      this.#filled = 0;
      this.#length = undefined;
      this.#inHeaders = false;
      return;
    }
    const [, name = '', value = ''] = /^([\w-]+):\s*(.*)$/.exec(line) ?? [];
    if (name === '') throw badStream(`"${line.slice(0, 40)}" where a header belongs`);
    if (name.toLowerCase() !== 'content-length') return;
    if (!/^\d{1,9}$/.test(value)) throw badStream(`Content-length "${value.slice(0, 40)}"`);
    this.#length = Number(value);
    if (this.#length < 4 || this.#length > MAX_JPEG) throw badStream(`a picture of ${this.#length} bytes`);
  }

  #takeJpeg(chunk: Buffer, at: number): number {
    const picture = this.#picture!;
    const copied = chunk.copy(picture, this.#filled, at);
    this.#filled += copied;
    if (this.#filled === picture.length) {
      if (picture.readUInt16BE(0) !== 0xffd8) throw badStream('a picture that does not start as a JPEG file does');
      if (picture.readUInt16BE(picture.length - 2) !== 0xffd9) throw badStream('a JPEG file that is cut off');
      this.#picture = undefined;
      this.#onPicture(picture);
    }
    return at + copied;
  }
}

function badStream(problem: string): KerbError {
  return new KerbError(ErrorCode.CameraUnavailable, `conversion to JPEG sent ${problem}`);
}
