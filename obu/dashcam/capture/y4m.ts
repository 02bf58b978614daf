import { ErrorCode, KerbError } from '../../../shared/base/errors.ts';

/** The first line of a YUV4MPEG2 stream (yuv4mpeg(5) of the mjpegtools). */
export interface Y4mHeader {
  readonly width: number;
  readonly height: number;
  /** The line as it came, without its newline. */
  readonly line: string;
  /** Bytes of one picture: a plane of luma, then two of chroma at half size, rounded up. */
  readonly pictureBytes: number;
}

const MAX_LINE = 512;
const MAX_SIDE = 16_384;
const FRAME = Buffer.from('FRAME');

/** @throws KerbError CameraUnavailable for anything but 8-bit 4:2:0 of a sane size */
export function parseY4mHeader(line: string): Y4mHeader {
  const [magic, ...fields] = line.split(' ');
  if (magic !== 'YUV4MPEG2') throw badStream(`it starts with "${line.slice(0, 40)}"`);
  const field = (letter: string) => fields.find((one) => one.startsWith(letter))?.slice(1);
  const side = (text: string | undefined) => (/^\d{1,5}$/.test(text ?? '') ? Number(text) : 0);
  const width = side(field('W'));
  const height = side(field('H'));
  if (width < 1 || height < 1 || width > MAX_SIDE || height > MAX_SIDE) throw badStream(`its header is "${line}"`);
  const chroma = field('C') ?? '420jpeg';
  if (!['420', '420jpeg', '420mpeg2', '420paldv'].includes(chroma))
    throw badStream(`its pictures are ${chroma}, not 420`);
  const pictureBytes = width * height + 2 * Math.ceil(width / 2) * Math.ceil(height / 2);
  return { width, height, line, pictureBytes };
}

function badStream(problem: string): KerbError {
  return new KerbError(ErrorCode.CameraUnavailable, `not a valid YUV4MPEG2 stream: ${problem}`);
}

/**
 * Cuts a YUV4MPEG2 stream into pictures, whatever the chunks it comes in. Hot path: each byte is copied once, into the
 * picture's own buffer; a picture that nobody keeps leaves its buffer to the next one.
 */
export class Y4mReader {
  readonly #onPicture: (planes: Buffer, header: Y4mHeader) => boolean;
  #header: Y4mHeader | undefined;
  /** The beginning of a header line whose newline has not come yet. */
  #line: Buffer = Buffer.alloc(0);
  #picture: Buffer | undefined;
  /** Bytes of #picture that are there; -1 before its FRAME line is complete. */
  #filled = -1;

  /** `onPicture` returns whether it keeps the buffer (then it is never written again). */
  constructor(onPicture: (planes: Buffer, header: Y4mHeader) => boolean) {
    this.#onPicture = onPicture;
  }

  /** @throws KerbError CameraUnavailable when this is no YUV4MPEG2 stream; it is unusable from then on */
  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) at = this.#filled < 0 ? this.#takeLine(chunk, at) : this.#takePixels(chunk, at);
  }

  #takeLine(chunk: Buffer, at: number): number {
    const end = chunk.indexOf(0x0a, at);
    const part = chunk.subarray(at, end < 0 ? chunk.length : end);
    const line = this.#line.length === 0 ? part : Buffer.concat([this.#line, part]);
    if (line.length > MAX_LINE) throw badStream(`a header line of more than ${MAX_LINE} bytes`);
    if (end < 0) {
      this.#line = Buffer.from(line);
      return chunk.length;
    }
    this.#line = Buffer.alloc(0);
    if (this.#header === undefined) {
      this.#header = parseY4mHeader(line.toString('latin1'));
    } else {
      if (!line.subarray(0, FRAME.length).equals(FRAME))
        throw badStream('a picture of another size than the header says');
      this.#picture ??= Buffer.allocUnsafeSlow(this.#header.pictureBytes);
      this.#filled = 0;
    }
    return end + 1;
  }

  #takePixels(chunk: Buffer, at: number): number {
    const picture = this.#picture!;
    const copied = chunk.copy(picture, this.#filled, at);
    this.#filled += copied;
    if (this.#filled === picture.length) {
      this.#filled = -1;
      if (this.#onPicture(picture, this.#header!)) this.#picture = undefined;
    }
    return at + copied;
  }
}
