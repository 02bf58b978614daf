/**
 * Checks the frames that one workload writes to one bus. Everything that its grant does not list is denied, and what is
 * listed only as long as the grant's condition holds: a signal that is missing or stale denies, so a workload is silent
 * by default and whenever the OBU does not know (the idea of opendbc's safety modes).
 *
 * - Remote frames are denied: they make another node send. Error frames are the controller's own.
 * - A CAN FD frame passes where a classical one does; whether the bus takes it is for the bus to say.
 * - A rate is a token bucket that holds one second's worth, and at least one frame. What is listed without a rate of
 * its
 *   own shares one of SHARED_RATE, so that no grant is a licence to fill the bus.
 *
 * Hot path, one call of `check` per frame that a workload wants to send: one table look-up; nothing is allocated for a
 * frame that passes.
 */

import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import { CAN_EFF_FLAG, type CanFrame, formatCanId } from '../../shared/can/frame.ts';
import type { Condition } from '../../shared/vss/condition.ts';
import type { SignalDatum } from '../../shared/vss/signal.ts';
import type { CanGrant } from '../manifest/workload.ts';

/**
 * Frames per second of all that one workload may send to one bus without a rate of its own: a quarter of 500 kbit/s.
 */
export const SHARED_RATE = 1000;

/** Why a frame was denied, for the metrics. */
export type DenialReason = 'grant' | 'kind' | 'id' | 'length' | 'rate' | 'condition';

export interface WriteGuardParts {
  readonly workload: string;
  /** The fresh value of a signal; undefined when it has none or it is stale. */
  readonly freshOf: (path: string) => SignalDatum | undefined;
  /** Milliseconds that only grow. */
  readonly nowMs?: () => number;
}

interface Rule {
  /** Undefined: any. */
  readonly length: number | undefined;
  readonly bucket: TokenBucket;
}

export class WriteGuard {
  readonly grant: CanGrant;
  readonly #parts: WriteGuardParts;
  /** By id, with Linux' flag for a 29-bit one. */
  readonly #rules = new Map<number, Rule[]>();
  readonly #nowMs: () => number;

  constructor(grant: CanGrant, parts: WriteGuardParts) {
    this.grant = grant;
    this.#parts = parts;
    this.#nowMs = parts.nowMs ?? (() => performance.now());
    const shared = new TokenBucket(SHARED_RATE);
    for (const { id, ext, length, maxPerSecond } of grant.write) {
      const key = keyOf(id, ext);
      const rule = { length, bucket: maxPerSecond === undefined ? shared : new TokenBucket(maxPerSecond) };
      const known = this.#rules.get(key);
      if (known === undefined) this.#rules.set(key, [rule]);
      else known.push(rule);
    }
  }

  /**
   * Lets the frame pass, and counts it against its rate.
   * @throws KerbError CanWriteNotGranted | CanWriteWrongLength | CanWriteTooFast (`retryAfterMs` in its context) |
   * CanWriteNotNow; `reason` in the context is a DenialReason
   */
  check(frame: CanFrame): void {
    if (frame.rtr || frame.err) {
      const kind = frame.rtr ? 'remote' : 'error';
      throw this.#denied(ErrorCode.CanWriteNotGranted, 'kind', frame, `${kind} frames are never passed on`);
    }
    const rules = this.#rules.get(keyOf(frame.id, frame.ext));
    if (rules === undefined) throw this.#notListed(frame);
    const rule = rules.find(({ length }) => length === undefined || length === frame.data.length);
    if (rule === undefined) {
      const lengths = rules.map(({ length }) => length).join(' or ');
      const why = `it has ${frame.data.length} bytes, and its manifest allows ${lengths}`;
      throw this.#denied(ErrorCode.CanWriteWrongLength, 'length', frame, why);
    }
    // The condition before the rate: what is denied anyway takes nothing from the bucket.
    const { when } = this.grant;
    if (when !== undefined && !when.holds(this.#parts.freshOf)) {
      throw this.#denied(ErrorCode.CanWriteNotNow, 'condition', frame, this.#whyNotNow(when));
    }
    const waitMs = rule.bucket.take(this.#nowMs());
    if (waitMs === 0) return;
    const why = `more than ${rule.bucket.perSecond} per second came`;
    throw this.#denied(ErrorCode.CanWriteTooFast, 'rate', frame, why, { retryAfterMs: Math.ceil(waitMs) });
  }

  #notListed(frame: CanFrame): KerbError {
    const { bus } = this.grant;
    const id = formatCanId(frame.id, frame.ext);
    const wanted = `x-obu.grants.can: [{ bus: ${bus}, write: [{ id: "${id}" }] }]`;
    return this.#denied(ErrorCode.CanWriteNotGranted, 'id', frame, `its manifest would need ${wanted}`, { wanted });
  }

  #whyNotNow(condition: Condition): string {
    const known = condition.paths.map((path) => {
      const value = this.#parts.freshOf(path);
      return value === undefined ? `${path} has no fresh value` : `${path} is ${value}`;
    });
    return `it may be sent only while ${condition.text}, and ${known.join(', ')}`;
  }

  #denied(code: ErrorCode, reason: DenialReason, frame: CanFrame, why: string, more: object = {}): KerbError {
    const { workload } = this.#parts;
    const { bus } = this.grant;
    const id = formatCanId(frame.id, frame.ext);
    return new KerbError(code, `workload ${workload} may not send CAN frame ${id} to "${bus}": ${why}`, {
      workload,
      bus,
      id,
      reason,
      ...more,
    });
  }
}

class TokenBucket {
  readonly perSecond: number;
  readonly #size: number;
  #tokens: number;
  #atMs: number | undefined;

  constructor(perSecond: number) {
    this.perSecond = perSecond;
    this.#size = Math.max(1, perSecond);
    this.#tokens = this.#size;
  }

  /** Takes one; returns 0, or the milliseconds until there is one. */
  take(nowMs: number): number {
    const elapsedMs = nowMs - (this.#atMs ?? nowMs);
    this.#tokens = Math.min(this.#size, this.#tokens + (elapsedMs * this.perSecond) / 1000);
    this.#atMs = nowMs;
    if (this.#tokens < 1) return ((1 - this.#tokens) * 1000) / this.perSecond;
    this.#tokens--;
    return 0;
  }
}

function keyOf(id: number, ext: boolean): number {
  return ext ? (id | CAN_EFF_FLAG) >>> 0 : id;
}
