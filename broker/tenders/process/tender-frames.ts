import { ErrorCode, KerbError } from '../../../shared/base/errors.ts';
import type { ImageInfo, Isolation, WishedIsolation } from './tender.ts';

/**
 * What broker and tender say to each other; the layouts are those of `unikernel/include/kerbside/frames.h`.
 * Hot path: a call's frame is written into a buffer that is kept, an outcome that arrived in one piece is not copied.
 */
export const WIRE_VERSION = 2;
/** Payloads above this many bytes go through the tender's memfds. */
export const INLINE_MAX = 256 * 1024;
export const BROKER_FRAME_SIZE = 32;

const LOG_MAX = 4096;
const REASON_MAX = 512;
const LOADED_SIZE = 104;
const OUTCOME_SIZE = 88;
const ISOLATION_OFFSET = 96;
const KEPT_OFFSET = 100;
const NAME_OFFSET = 32;
const NAME_SIZE = 64;
/** No frame of a tender is longer. */
const FRAME_MAX = OUTCOME_SIZE + LOG_MAX + INLINE_MAX;

const FrameType = {
  Hello: 1,
  Loaded: 2,
  Refused: 3,
  Failed: 4,
  Outcome: 5,
  Blank: 6,
  Opened: 16,
  Call: 17,
  Release: 18,
  Load: 19,
} as const;

export const OutcomeKind = { Done: 1, Aborted: 2, Deadline: 3, Fault: 4, BadOutput: 5 } as const;

export type TenderFrame =
  | { readonly type: 'hello'; readonly inputFd: number; readonly outputFd: number }
  | {
      readonly type: 'loaded';
      readonly image: ImageInfo;
      readonly isolation: Isolation;
      /** One process runs all calls, and is put back after each. */
      readonly kept: boolean;
      readonly confinement: string;
    }
  | { readonly type: 'blank' }
  | { readonly type: 'refused'; readonly reason: string }
  | { readonly type: 'failed'; readonly reason: string }
  | OutcomeFrame;

export interface OutcomeFrame {
  readonly type: 'outcome';
  readonly kind: number;
  readonly status: number;
  readonly outputSize: number;
  readonly runNs: number;
  readonly cpuNs: number;
  /** A view of the received bytes. */
  readonly log: Buffer;
  /** A view of the received bytes; undefined when the output waits in the memfd. */
  readonly output: Buffer | undefined;
  readonly signal: number;
  readonly signalCode: number;
  readonly faultAddress: bigint;
  readonly instruction: bigint;
  /** Bytes. */
  readonly memory: number;
}

function bad(reason: string): KerbError {
  return new KerbError(ErrorCode.BadProtocolMessage, `frame from a tender: ${reason}; it is no longer trusted`);
}

/** @throws KerbError BadProtocolMessage when it is above 2^53 */
function readU64(frame: Buffer, offset: number): number {
  const value = frame.readUInt32LE(offset + 4) * 2 ** 32 + frame.readUInt32LE(offset);
  if (!Number.isSafeInteger(value)) throw bad('a number is above 2^53');
  return value;
}

const isolations = new Map<number, Isolation>([
  [1, 'process'],
  [2, 'vm'],
]);

function decodeLoaded(frame: Buffer): TenderFrame {
  const name = frame.subarray(NAME_OFFSET, NAME_OFFSET + NAME_SIZE);
  const image: ImageInfo = {
    memory: readU64(frame, 8),
    maxInput: readU64(frame, 16),
    maxOutput: readU64(frame, 24),
    name: name.toString('latin1', 0, name.indexOf(0)),
  };
  const isolation = isolations.get(frame.readUInt32LE(ISOLATION_OFFSET));
  if (isolation === undefined) throw bad('an unknown isolation');
  const kept = frame.readUInt32LE(KEPT_OFFSET) === 1;
  return { type: 'loaded', image, isolation, kept, confinement: frame.toString('utf8', LOADED_SIZE) };
}

function decodeOutcome(frame: Buffer): OutcomeFrame {
  const logSize = frame.readUInt32LE(40);
  const inline = frame.readUInt32LE(44) === 1;
  const kind = frame.readUInt32LE(8);
  const outputStart = OUTCOME_SIZE + logSize;
  const done = kind === OutcomeKind.Done;
  // A bad output's size is what the guest claims: any 64-bit number.
  const outputSize = done ? readU64(frame, 16) : Number(frame.readBigUInt64LE(16));
  if (outputStart > frame.length) throw bad('its log is longer than it');
  if (frame.length - outputStart !== (done && inline ? outputSize : 0)) throw bad('its output has another length');
  return {
    type: 'outcome',
    kind,
    status: frame.readUInt32LE(12),
    outputSize,
    runNs: readU64(frame, 24),
    cpuNs: readU64(frame, 32),
    log: frame.subarray(OUTCOME_SIZE, outputStart),
    output: inline ? frame.subarray(outputStart) : undefined,
    signal: frame.readUInt32LE(48),
    signalCode: frame.readInt32LE(52),
    faultAddress: frame.readBigUInt64LE(56),
    instruction: frame.readBigUInt64LE(64),
    memory: readU64(frame, 80),
  };
}

/** @param frame one whole frame, its length field included. @throws KerbError BadProtocolMessage */
export function decodeTenderFrame(frame: Buffer): TenderFrame {
  if (frame.length < 8) throw bad('shorter than a header');
  const type = frame.readUInt32LE(4);
  switch (type) {
    case FrameType.Hello: {
      if (frame.length !== 24) throw bad('a hello of another length');
      const version = frame.readUInt32LE(8);
      if (version !== WIRE_VERSION) throw bad(`wire version ${version} instead of ${WIRE_VERSION}: run npm run setup`);
      return { type: 'hello', inputFd: frame.readUInt32LE(12), outputFd: frame.readUInt32LE(16) };
    }
    case FrameType.Blank:
      if (frame.length !== 8) throw bad('a blank of another length');
      return { type: 'blank' };
    case FrameType.Loaded:
      if (frame.length < LOADED_SIZE || frame.length > LOADED_SIZE + REASON_MAX) throw bad('bad length');
      return decodeLoaded(frame);
    case FrameType.Refused:
    case FrameType.Failed:
      return { type: type === FrameType.Refused ? 'refused' : 'failed', reason: frame.toString('utf8', 8) };
    case FrameType.Outcome:
      if (frame.length < OUTCOME_SIZE) throw bad('an outcome of another length');
      return decodeOutcome(frame);
    default:
      throw bad(`unknown type ${type}`);
  }
}

/** Cuts what arrives on the socket into frames. A frame that comes in one chunk is a view of it. */
export class TenderFrameReader {
  #partial: Buffer | undefined;
  #have = 0;
  #header = Buffer.alloc(4);
  #headerHave = 0;

  /** Calls `onFrame` for each frame that `chunk` completes. @throws KerbError BadProtocolMessage */
  push(chunk: Buffer, onFrame: (frame: Buffer) => void): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#partial === undefined) {
        if (this.#headerHave === 0 && chunk.length - at >= 4) {
          const size = frameSize(chunk.readUInt32LE(at));
          if (chunk.length - at >= size) {
            onFrame(chunk.subarray(at, at + size));
            at += size;
            continue;
          }
        }
        const taken = chunk.copy(this.#header, this.#headerHave, at, at + 4 - this.#headerHave);
        this.#headerHave += taken;
        at += taken;
        if (this.#headerHave < 4) return;
        this.#partial = Buffer.allocUnsafe(frameSize(this.#header.readUInt32LE(0)));
        this.#have = this.#header.copy(this.#partial);
        this.#headerHave = 0;
      }
      const taken = chunk.copy(this.#partial, this.#have, at);
      this.#have += taken;
      at += taken;
      if (this.#have === this.#partial.length) {
        const frame = this.#partial;
        this.#partial = undefined;
        onFrame(frame);
      }
    }
  }
}

function frameSize(length: number): number {
  if (length < 4 || length > FRAME_MAX - 4) throw bad(`length ${length}`);
  return length + 4;
}

/** Writes a CALL into the first 32 bytes of `frame`. Sizes in bytes, budget in nanoseconds. */
export function writeCall(frame: Buffer, inputSize: number, budgetNs: number, inline: boolean): void {
  frame.writeUInt32LE(BROKER_FRAME_SIZE - 4 + (inline ? inputSize : 0), 0);
  frame.writeUInt32LE(FrameType.Call, 4);
  frame.writeUInt32LE(inputSize, 8);
  frame.writeUInt32LE(0, 12);
  frame.writeUInt32LE(budgetNs % 2 ** 32, 16);
  frame.writeUInt32LE(Math.floor(budgetNs / 2 ** 32), 20);
  frame.writeUInt32LE(inline ? 1 : 0, 24);
  frame.writeUInt32LE(0, 28);
}

function bareFrame(type: number): Buffer {
  const frame = Buffer.alloc(BROKER_FRAME_SIZE);
  frame.writeUInt32LE(BROKER_FRAME_SIZE - 4, 0);
  frame.writeUInt32LE(type, 4);
  return frame;
}

/** What goes before the `imageSize` bytes of an image. */
export function loadFrame(imageSize: number, isolation: WishedIsolation): Buffer {
  const frame = Buffer.alloc(BROKER_FRAME_SIZE);
  frame.writeUInt32LE(BROKER_FRAME_SIZE - 4 + imageSize, 0);
  frame.writeUInt32LE(FrameType.Load, 4);
  frame.writeUInt32LE(imageSize, 8);
  frame.writeUInt32LE(1, 24);
  frame.writeUInt32LE(isolation === 'auto' ? 0 : isolation === 'process' ? 1 : 2, 28);
  return frame;
}

export const OPENED_FRAME: Buffer = bareFrame(FrameType.Opened);
export const RELEASE_FRAME: Buffer = bareFrame(FrameType.Release);
