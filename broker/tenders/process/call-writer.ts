import type { Socket } from 'node:net';
import { BROKER_FRAME_SIZE, INLINE_MAX, writeCall } from './tender-frames.ts';

/** Inputs up to this size are copied behind their frame and sent with one write. */
const ONE_WRITE_MAX = 16 * 1024;

/**
 * Sends calls to one tender. What it writes from is used again, so the next call may follow only when the tender has
 * answered. Hot path: no allocation.
 */
export class CallWriter {
  readonly #frame = Buffer.alloc(BROKER_FRAME_SIZE + ONE_WRITE_MAX);

  /** An input above `INLINE_MAX` bytes has to be in the tender's memory already. */
  send(socket: Socket, input: Uint8Array, budgetNs: number): void {
    const frame = this.#frame;
    const inline = input.length <= INLINE_MAX;
    writeCall(frame, input.length, budgetNs, inline);
    if (!inline) {
      socket.write(frame.subarray(0, BROKER_FRAME_SIZE));
    } else if (input.length <= ONE_WRITE_MAX) {
      frame.set(input, BROKER_FRAME_SIZE);
      socket.write(frame.subarray(0, BROKER_FRAME_SIZE + input.length));
    } else {
      socket.cork();
      socket.write(frame.subarray(0, BROKER_FRAME_SIZE));
      socket.write(input);
      socket.uncork();
    }
  }
}
