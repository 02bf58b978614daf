import { ErrorCode, isKerbError, KerbError } from '../../../shared/base/errors.ts';
import { makeFrame } from '../../../shared/can/frame.ts';
import { nowUs } from '../../../shared/can/userspace/userspace-protocol.ts';
import type { kerbside } from '../../../shared/protocol/generated/gateway.js';
import type { DenialReason } from '../../can/write-guard.ts';
import type { GrantGuard } from '../../grants/grants.ts';

/** Frames in one message. */
export const MAX_SEND = 512;

export interface CanServiceParts {
  readonly guard: GrantGuard;
  /** A frame was denied, and did not reach the bus. */
  readonly onDenied: (reason: DenialReason) => void;
}

/** Where the frames of one workload are handed in: guarded one by one, then put on the bus in their order. */
export class CanService {
  readonly #parts: CanServiceParts;

  constructor(parts: CanServiceParts) {
    this.#parts = parts;
  }

  /**
   * Sends all, or stops at the first that is denied or not taken: those before it are on the bus, it and those after it
   * are not.
   * @param sender Does not get them back.
   * @throws KerbError of GrantGuard.canWrite, of WriteGuard.check and of the bus; BadCanFrame; TooManyRequests
   */
  send({ bus, frames }: kerbside.gateway.v1.SendCan.$Properties, sender: object): void {
    const list = frames ?? [];
    if (list.length > MAX_SEND) {
      const message = `${list.length} frames in one message; the limit is ${MAX_SEND}`;
      throw new KerbError(ErrorCode.TooManyRequests, message);
    }
    let next = 0;
    try {
      const { router, writes } = this.#parts.guard.canWrite(bus ?? '');
      const timeUs = nowUs();
      for (; next < list.length; next++) {
        const { id, flags, data } = list[next]!;
        // A copy: others keep the frame, and with it they would keep the whole message.
        const frame = makeFrame(id ?? 0, flags ?? 0, new Uint8Array(data ?? []), timeUs);
        writes.check(frame);
        router.send(frame, sender);
      }
    } catch (error) {
      if (!isKerbError(error)) throw error;
      const { reason } = error.context;
      if (typeof reason === 'string') this.#parts.onDenied(reason as DenialReason);
      if (list.length <= 1) throw error;
      const place = `frame ${next + 1} of ${list.length}; ${next} before it are on the bus`;
      throw new KerbError(error.code, `${error.message} (${place})`, error.context, { cause: error });
    }
  }
}
