/**
 * Cuts a fragmented MP4 (ISO/IEC 14496-12, 8.8 "movie fragments") into what can stand alone: the head (`ftyp` + `moov`)
 * and whole fragments (`moof` + `mdat`, with what stands before them). A file of the head and any row of fragments plays.
 */
const HEADER = 8;
const LARGE_HEADER = 16;
/** One second of video; what claims to be more is no video of ours. */
const MAX_BOX = 64 * 1024 * 1024;
/** Boxes that only tell a player where to jump in a whole file: of no use in a file that may end anywhere. */
const LEFT_OUT = new Set(['mfra', 'sidx']);

interface Box {
  readonly type: string;
  /** Bytes, header included. */
  readonly size: number;
}

/** The box that begins at `offset`, or undefined when not all of its header is there. @throws Error when it is none */
function boxAt(bytes: Buffer, offset: number): Box | undefined {
  if (bytes.length - offset < HEADER) return undefined;
  const type = bytes.toString('latin1', offset + 4, offset + 8);
  let size = bytes.readUInt32BE(offset);
  let least = HEADER;
  if (size === 1) {
    if (bytes.length - offset < LARGE_HEADER) return undefined;
    size = Number(bytes.readBigUInt64BE(offset + 8));
    least = LARGE_HEADER;
  }
  if (!/^[A-Za-z0-9 ]{4}$/.test(type) || size < least || size > MAX_BOX) {
    throw new Error(`not a valid fragmented MP4 stream: a box "${type.replace(/[^ -~]/g, '?')}" of ${size} bytes`);
  }
  return { type, size };
}

export class Mp4Cutter {
  readonly #onHead: (head: Buffer) => void;
  readonly #onFragment: (fragment: Buffer) => void;
  #rest: Buffer = Buffer.alloc(0);
  #boxes: Buffer[] = [];

  constructor(onHead: (head: Buffer) => void, onFragment: (fragment: Buffer) => void) {
    this.#onHead = onHead;
    this.#onFragment = onFragment;
  }

  /** @throws Error when the stream is no fragmented MP4 */
  push(chunk: Buffer): void {
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let offset = 0;
    for (;;) {
      const box = boxAt(this.#rest, offset);
      if (box === undefined || this.#rest.length - offset < box.size) break;
      this.#take(box.type, this.#rest.subarray(offset, offset + box.size));
      offset += box.size;
    }
    this.#rest = Buffer.from(this.#rest.subarray(offset));
  }

  #take(type: string, bytes: Buffer): void {
    if (LEFT_OUT.has(type)) return;
    this.#boxes.push(bytes);
    if (type !== 'moov' && type !== 'mdat') return;
    const whole = Buffer.concat(this.#boxes);
    this.#boxes = [];
    if (type === 'moov') this.#onHead(whole);
    else this.#onFragment(whole);
  }
}

/**
 * How many bytes of a file are whole: the head and all fragments that were written to their end. 0 when not even one
 * fragment is.
 * @param read gives the bytes at an offset, fewer at the end of the file
 */
export function wholeLength(read: (offset: number, length: number) => Buffer, size: number): number {
  let offset = 0;
  let whole = 0;
  while (offset < size) {
    let box: Box | undefined;
    try {
      box = boxAt(read(offset, LARGE_HEADER), 0);
    } catch {
      return whole; // a power cut leaves zeros as well as ends
    }
    if (box === undefined || offset + box.size > size) return whole;
    offset += box.size;
    if (box.type === 'mdat') whole = offset;
  }
  return whole;
}
