/**
 * How many frames the kernel dropped because a raw socket's receive buffer was full.
 *
 * The kernel tells that through SO_RXQ_OVFL, which the `socketcan` package does not ask for. But it counts, for each
 * filter of each socket, how many frames it has handed on (`matches` in /proc/net/can/rcvlist_*), before the buffer and
 * our own frames included: matches minus frames received and sent is what was lost or still waits. What waits varies and reaches zero whenever we
 * have caught up; so the smallest difference over some looks is what was lost. It is a lower bound, exact once the
 * burst is over.
 *
 * To find our own line there, the socket gets a filter that no other has: "not this one id" for a random id of a
 * remote 29-bit frame, which nobody sends. It is then the one filter, and passes everything else.
 */
import { randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { CAN_EFF_FLAG, CAN_RTR_FLAG } from '../../shared/can/frame.ts';

const LIST = '/proc/net/can/rcvlist_inv';
const WINDOW = 5;

export interface MarkerFilter {
  readonly id: number;
  readonly mask: number;
}

/** A filter for one socket: passes, when inverted, every frame but one remote frame that nobody sends. */
export function makeMarkerFilter(): MarkerFilter {
  return { id: (CAN_EFF_FLAG | CAN_RTR_FLAG | randomInt(0x10000000, 0x1fffffff)) >>> 0, mask: 0xdfffffff };
}

/**
 * The count of frames that the kernel has handed to the socket with this marker on this interface, from the text of
 * /proc/net/can/rcvlist_inv; undefined when it has no such line.
 */
export function matchesOf(list: string, bus: string, marker: MarkerFilter): number | undefined {
  const id = marker.id.toString(16).padStart(8, '0');
  for (const line of list.split('\n')) {
    // device can_id can_mask function userdata matches ident
    const fields = line.trim().split(/\s+/);
    if (fields[0] === bus && fields[1] === id && fields.length >= 7) {
      const matches = Number(fields[5]);
      return Number.isSafeInteger(matches) ? matches : undefined;
    }
  }
  return undefined;
}

/** Turns looks at (matches, frames received and sent) into a count of losses that only grows. */
export class LossCounter {
  #recent: number[] = [];
  #lost = 0;

  /** @returns how many more are known to be lost since the last look */
  look(matches: number, accounted: number): number {
    this.#recent.push(matches - accounted);
    if (this.#recent.length > WINDOW) this.#recent.shift();
    if (this.#recent.length < WINDOW) return 0;
    const lost = Math.max(0, Math.min(...this.#recent));
    const more = Math.max(0, lost - this.#lost);
    this.#lost += more;
    return more;
  }
}

/** The kernel's list, or undefined where it has none (no CAN, no /proc). */
export function readReceiveList(): string | undefined {
  try {
    return readFileSync(LIST, 'latin1');
  } catch {
    return undefined;
  }
}
