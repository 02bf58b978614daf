import type { BrokerEventKind } from '../../shared/api/broker.ts';
import { EventLog } from '../../shared/api/event-log.ts';
import { errorName } from '../../shared/base/errors.ts';
import type { Refusal } from '../../shared/base/refusal.ts';
import { reasonOf } from '../../shared/protocol/refusal-reason.ts';

/** One event of the same subject and reason in so many milliseconds: no client can keep the broker busy with them. */
const QUIET_MS = 1000;
/** Subjects that are told apart. */
const MAX_SUBJECTS = 1000;

/** Recent events of this broker. Of those that may come in floods, one a second is taken. */
export class BrokerEvents {
  readonly log = new EventLog<BrokerEventKind>();
  readonly #quietUntil = new Map<string, number>();
  readonly #nowMs: () => number;

  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs;
  }

  add(kind: BrokerEventKind, name: string, word: string, message: string): void {
    this.log.add(kind, name, word, message);
  }

  /** An offload of this tenant was not taken, or did not succeed. */
  refused(tenant: string, vehicle: string, { code, message }: Refusal): void {
    if (this.#isQuiet(`${tenant}\n${reasonOf(code)}`)) return;
    this.log.add('refusal', tenant, errorName(code), `vehicle ${vehicle}: ${message}`);
  }

  /** Anything that is listed among the recent errors. */
  error(source: string, code: number, message: string): void {
    if (this.#isQuiet(source)) return;
    this.log.add('error', source, errorName(code), message);
  }

  #isQuiet(subject: string): boolean {
    const now = this.#nowMs();
    if ((this.#quietUntil.get(subject) ?? 0) > now) return true;
    if (this.#quietUntil.size >= MAX_SUBJECTS) this.#quietUntil.clear();
    this.#quietUntil.set(subject, now + QUIET_MS);
    return false;
  }
}
