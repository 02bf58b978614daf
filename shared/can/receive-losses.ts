/**
 * How many frames the kernel dropped because a raw socket's receive buffer was full.
 *
 * The kernel tells that through SO_RXQ_OVFL, which the `socketcan` package does not ask for. But it counts, for each
 * filter of each socket, how many frames it has handed on (`matches` in /proc/net/can/rcvlist_*), before the buffer and
 * our own frames included. And it stamps each frame before it counts it. So of the frames that are in a count which was
 * read at time T, all have stamps of at most T: `matches` minus those that reach us with such a stamp, minus what we
 * had sent, is never more than what was lost, however many frames wait while we look; and it is exactly that whenever
 * no frame came between the reading and T, some ten microseconds. The largest such number is therefore what is known to
 * be lost. A frame with a later stamp shows that all earlier ones have been read; on a silent bus, three looks without
 * a frame do.
 *
 * A frame that we sent and the driver threw away (bus-off) never came by in the kernel, so as many losses stay unknown
 * after it. The count is never too large.
 *
 * To find our own line there, the socket gets a filter that no other has: "not this one id" for a random id of a
 * remote 29-bit frame, which nobody sends. It is then the one filter, and passes everything else.
 */
import { randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { CAN_EFF_FLAG, CAN_RTR_FLAG } from './frame.ts';

const LIST = '/proc/net/can/rcvlist_inv';

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

/** A moment on two clocks, in microseconds: the one that frames are stamped with, and one that is never set. */
export interface Moment {
  /** Not earlier than it was, and at most a millisecond later. */
  readonly wallUs: number;
  readonly steadyUs: number;
}

/** Frames whose stamps are this close may come in another order: they are stamped on several processors. */
const DISORDER_US = 10_000;
/** A difference of the clocks that reading them alone does not explain. */
const CLOCK_NOISE_US = 2_000;
/** From here on it was set, not slewed. */
const CLOCK_SET_US = 50_000;
/** After a clock was set, and after the first frame: what was stamped otherwise has been read by then. */
const LOOKS_TO_SKIP = 2;
const SILENT_LOOKS = 3;
/** A later stamp that has not come by then will not come: the clock was set back. */
const MAX_LOOKS_OPEN = 10;

/** A count of the kernel that waits for the frames that are in it. */
interface OpenLook {
  readonly matches: number;
  readonly atUs: number;
  /** Sent and received of what is in the count. */
  accounted: number;
  looks: number;
}

/**
 * Turns looks at the kernel's count into a number of losses that only grows. Hot path: `received`, one call per frame.
 */
export class LossCounter {
  #received = 0;
  #sent = 0;
  #lost = 0;
  #open: OpenLook | undefined;
  #skip = LOOKS_TO_SKIP;
  #offsetUs: number | undefined;
  #silent = 0;
  /** Of the last look, to see whether the bus is silent. */
  #last = { foreign: 0, received: 0 };

  /** Frames that are known to be lost. */
  get lost(): number {
    return this.#lost;
  }

  /** A frame that the kernel has counted, in the order of its queue. @param timeUs Its stamp. */
  received(timeUs: number): void {
    this.#received++;
    const open = this.#open;
    if (open === undefined) return;
    if (timeUs <= open.atUs) open.accounted++;
    else if (timeUs > open.atUs + DISORDER_US) this.#close(open);
  }

  /** A frame that we have sent, which the kernel counts as well. */
  sent(): void {
    this.#sent++;
  }

  /** True when a sample with this count can give new information; otherwise it need not be exact. */
  canLearnFrom(matches: number): boolean {
    return this.#open === undefined && this.#skip === 0 && this.#outstanding(matches) > 0;
  }

  /** @param at When `matches` had been read. To be called about once a second. */
  look(matches: number, at: Moment): void {
    const slipUs = this.#slip(at);
    if (slipUs >= CLOCK_SET_US) {
      this.#open = undefined;
      this.#skip = LOOKS_TO_SKIP;
    }
    this.#lookForSilence(matches);
    const open = this.#open;
    if (open !== undefined && ++open.looks > MAX_LOOKS_OPEN) this.#open = undefined;
    if (this.canLearnFrom(matches)) {
      const atUs = at.wallUs + (slipUs > CLOCK_NOISE_US ? slipUs : 0);
      this.#open = { matches, atUs, accounted: this.#sent + this.#received, looks: 0 };
    }
    // The kernel begins to stamp when the first frame is read; one without a stamp seems to come when it is read.
    if (this.#skip > 0 && this.#received > 0) this.#skip--;
  }

  /** By how much the clock of the stamps has moved against the other one since the last look. */
  #slip({ wallUs, steadyUs }: Moment): number {
    const offsetUs = wallUs - steadyUs;
    const slipUs = Math.abs(offsetUs - (this.#offsetUs ?? offsetUs));
    this.#offsetUs = offsetUs;
    return slipUs;
  }

  /** Nothing has come for so long that nothing can be waiting. */
  #lookForSilence(matches: number): void {
    const { foreign, received } = this.#last;
    this.#last = { foreign: matches - this.#sent, received: this.#received };
    if (foreign !== this.#last.foreign || received !== this.#received) {
      this.#silent = 0;
      return;
    }
    if (++this.#silent < SILENT_LOOKS) return;
    this.#open = undefined;
    this.#lost += Math.max(0, this.#outstanding(matches));
  }

  #outstanding(matches: number): number {
    return matches - this.#received - this.#sent - this.#lost;
  }

  #close({ matches, accounted }: OpenLook): void {
    this.#open = undefined;
    this.#lost = Math.max(this.#lost, matches - accounted);
  }
}

/** Reads the kernel's count for a counter, as exactly as it is of use. @param read Undefined when there is no count. */
export function takeLook(counter: LossCounter, read: () => number | undefined): void {
  let clock = new WallClock(false);
  let matches = read();
  if (matches !== undefined && counter.canLearnFrom(matches)) {
    clock = new WallClock(true);
    matches = read();
  }
  if (matches !== undefined) counter.look(matches, clock.now());
}

/** The time of day in microseconds, which Node has in milliseconds only. It is never behind. */
class WallClock {
  readonly #nextMs: number;
  readonly #beforeMs: number;

  /** @param exact Wait for the next millisecond to begin, half a millisecond on average. */
  constructor(exact: boolean) {
    // At `before` or later, the time of day was still before the next millisecond.
    let before = performance.now();
    const ms = Date.now();
    while (exact) {
      const next = performance.now();
      if (Date.now() !== ms) break;
      before = next;
    }
    this.#nextMs = ms + 1;
    this.#beforeMs = before;
  }

  now(): Moment {
    const steadyMs = performance.now();
    return { wallUs: (this.#nextMs + steadyMs - this.#beforeMs) * 1000, steadyUs: steadyMs * 1000 };
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
