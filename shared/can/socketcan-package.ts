/** The npm package `socketcan` (4.3) as it is used here: raw CAN sockets of one interface. */
import { createRequire } from 'node:module';
import { type CanFrame, FrameFlag, uncheckedFrame } from './frame.ts';

/** The frame as the package passes it to a listener. A remote frame's length is that of `data`. */
export interface RawMessage {
  readonly id: number;
  readonly ext?: boolean;
  readonly rtr?: boolean;
  readonly err?: boolean;
  readonly data: Buffer;
  readonly ts_sec?: number;
  readonly ts_usec?: number;
}

export interface RawFilter {
  readonly id: number;
  readonly mask: number;
  readonly invert: boolean;
}

export interface RawChannel {
  addListener(event: 'onMessage', callback: (message: RawMessage) => void): void;
  addListener(event: 'onStopped', callback: () => void): void;
  setRxFilters(filters: RawFilter | readonly RawFilter[]): void;
  /** Classes of error frames (linux/can/error.h); none for 0. */
  setErrorFilters(mask: number): void;
  /** Begins to read; until then the kernel keeps what fits into the receive buffer, and counts all. */
  start(): void;
  /** Waits for its thread, up to 100 ms. Only after `start`. */
  stop(): void;
  /** Bytes written, or -1. */
  send(message: { id: number; ext: boolean; rtr: boolean; data: Buffer }): number;
  sendFD(message: { id: number; ext: boolean; fd_brs: boolean; data: Buffer }): number;
}

interface SocketCanPackage {
  createRawChannelWithOptions(name: string, options: { timestamps: boolean; non_block_send: boolean }): RawChannel;
}

/**
 * Opens a raw socket on an interface.
 * @throws Error of the package: it was not built, or there is no such interface
 */
export function openRawChannel(name: string): RawChannel {
  // CommonJS with a native part: loaded when it is needed, so that hosts without it can run all the rest.
  const socketcan: SocketCanPackage = createRequire(import.meta.url)('socketcan');
  return socketcan.createRawChannelWithOptions(name, { timestamps: true, non_block_send: true });
}

export function toFrame(message: RawMessage): CanFrame {
  const { data } = message;
  const flags =
    (message.ext ? FrameFlag.Extended : 0) |
    (message.rtr ? FrameFlag.Remote : 0) |
    (message.err ? FrameFlag.Error : 0) |
    (data.length > 8 ? FrameFlag.Fd : 0);
  const timeUs = (message.ts_sec ?? 0) * 1e6 + (message.ts_usec ?? 0);
  // An error frame is EFF for nobody: its id is the error class.
  return uncheckedFrame(message.id, message.err ? FrameFlag.Error : flags, data, timeUs);
}

/**
 * The package closes the event loop's handles, which lie inside the channel, after `stop` has returned; the garbage
 * collector must not take the channel before that.
 */
export function keepUntilClosed(channel: RawChannel): void {
  setTimeout(() => void channel, 100).unref();
}
