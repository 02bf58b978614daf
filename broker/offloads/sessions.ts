/**
 * Offloads with the state of a session: for each key one after the other, because a run that begins with a value which another
 * one is about to change is a run in vain. The value is read when the turn of an offload has come, handed to the task with
 * its input, and written back by compare-and-set together with the output; only then is the offload answered.
 *
 * A caller that asks again under the same id gets that output, and nothing is applied a second time.
 */
import { ErrorCode, isKerbError, messageOf } from '../../shared/base/errors.ts';
import { type Refusal, refusal, refusalOf } from '../../shared/base/refusal.ts';
import { readReply, withState } from '../../shared/task-package/state-frame.ts';
import { digestAtOnce, sha256Of } from '../results/input-hash.ts';
import type { RunFacts } from '../results/kept-result.ts';
import { keyFor } from '../state/state-access.ts';
import type { StateStore } from '../state/state-store.ts';
import { type StateChange, type StateKey, type StateReply, textOfKey } from '../state/state-types.ts';
import type { TenantRules } from '../tenants/policy.ts';
import type { AnyOffload, PendingOffload, Runnable, StatefulOffload, TaskResult } from './offload.ts';
import { notDurableYet, otherOffload, stateFull, stateUnavailable, turnTooLate } from './state-refusals.ts';

export interface SessionParts {
  /** Id of this broker, as in its certificate. */
  readonly broker: string;
  readonly store: Pick<StateStore, 'ask' | 'trouble'>;
  readonly rules: Pick<TenantRules, 'policyOf'>;
  readonly onEnd: (end: SessionEnd) => void;
}

/** The end of an offload with state, for the metrics. */
export type SessionEnd = 'written' | 'kept' | 'repeated' | 'conflict' | 'quota' | 'failed';

/** The rest of the broker, as sessions need it. */
export interface SessionHost {
  /** It has a turn, and its input is complete: it goes to the queue. */
  admit(flight: PendingOffload): void;
  fail(flight: PendingOffload, why: Refusal): void;
  /** It has been applied before: this was its result. */
  replay(flight: PendingOffload, result: TaskResult, startedAt: number): void;
}

/** Offloads that wait for their turn at one key. */
const MAX_WAITING = 64;
/** Runs of one offload, when something else has changed the value meanwhile. */
const MAX_RUNS = 5;
/** An output is kept for its retries for at least so long, in milliseconds, and beyond that until the caller's time is over. */
const LEAST_RETRY_MS = 60_000;

interface Session {
  readonly flight: StatefulOffload;
  readonly key: StateKey;
  readonly text: string;
  readonly runnable: Runnable;
  timer: NodeJS.Timeout | undefined;
}

export class Sessions {
  readonly #parts: SessionParts;
  #host: SessionHost | undefined;
  /** By the text of their key, the one whose turn it is first. */
  readonly #lines = new Map<string, Session[]>();
  readonly #sessions = new Map<PendingOffload, Session>();

  constructor(parts: SessionParts) {
    this.#parts = parts;
  }

  serve(host: SessionHost): void {
    this.#host = host;
  }

  /** Why this offload cannot be taken here, as far as its state goes. */
  refusal(offload: AnyOffload, { name, state }: Runnable): Refusal | undefined {
    const { broker, store, rules } = this.#parts;
    if (offload.state === undefined) {
      if (state === undefined) return undefined;
      const message = `${name} keeps the state of a session; name the key that it is kept under, and the broker (state)`;
      return refusal(ErrorCode.BadOffloadRequest, message);
    }
    if (state === undefined) {
      const message = `${name} takes no state; its task.yaml would have to declare it (state: max)`;
      return refusal(ErrorCode.BadOffloadRequest, message);
    }
    const { home, key } = offload.state;
    if (home !== broker) {
      const message = `the key ${key} is kept by broker ${home}, and this is broker ${broker}; offload it there`;
      return { code: ErrorCode.StateElsewhere, message, retryAfterMs: 0, tryBroker: home };
    }
    const whose = keyFor(rules, offload, name, offload.state);
    if ('code' in whose) return whose;
    if (store.trouble !== '') return stateUnavailable(store.trouble);
    const line = this.#lines.get(textOfKey(whose));
    if ((line?.length ?? 0) < MAX_WAITING) return undefined;
    return refusal(ErrorCode.QueueFull, `${MAX_WAITING} offloads wait for the key ${key} already`, 1000);
  }

  /** Only after `refusal` had none. */
  begin(flight: StatefulOffload, runnable: Runnable): void {
    const key = keyFor(this.#parts.rules, flight, runnable.name, flight.state) as StateKey;
    const text = textOfKey(key);
    const session: Session = { flight, key, text, runnable, timer: undefined };
    this.#sessions.set(flight, session);
    this.#watch(session);
    const line = this.#lines.get(text);
    if (line === undefined) {
      this.#lines.set(text, [session]);
      void this.#turn(session);
    } else line.push(session);
  }

  /** True while it has not come to the queue: it waits for its turn, or for its value. */
  waits(flight: PendingOffload): boolean {
    return this.#sessions.get(flight)?.timer !== undefined && flight.framed === undefined;
  }

  /** It has been answered, or has no caller any more: the next one has its turn. */
  ended(flight: PendingOffload): void {
    const session = this.#sessions.get(flight);
    if (session === undefined) return;
    clearTimeout(session.timer);
    this.#sessions.delete(flight);
    const line = this.#lines.get(session.text)!;
    const hadTurn = line[0] === session;
    line.splice(line.indexOf(session), 1);
    if (line.length === 0) this.#lines.delete(session.text);
    else if (hadTurn) void this.#turn(line[0]!);
  }

  /** Those that wait for their turn are told; those that run go on to their end. */
  refuseWaiting(why: Refusal): void {
    for (const { flight } of [...this.#sessions.values()]) if (this.waits(flight)) this.#host!.fail(flight, why);
  }

  /**
   * The task has ended well. `deliver` is called with its result once its state is on the disk; otherwise the offload is run
   * again, or fails.
   * @param startedAt of the run, of `performance.now()`
   */
  async commit(
    flight: PendingOffload,
    result: TaskResult,
    startedAt: number,
    deliver: (result: TaskResult) => void,
  ): Promise<void> {
    const session = this.#sessions.get(flight);
    if (session === undefined) return;
    const { store, onEnd } = this.#parts;
    try {
      const { change, output } = readChange(session, result.output);
      this.#watch(session, true);
      const facts = factsOf(result, startedAt);
      const reply = await store.ask({
        kind: 'commit',
        key: session.key,
        expected: change.action === 'keep' ? undefined : flight.stateVersion,
        change,
        applied: { asker: await askerOf(session.flight), output, facts, keepMs: retryMs(session.flight) },
        limits: this.#limitsOf(session.key.tenant),
        askerLimits: this.#limitsOf(flight.tenant),
      });
      clearTimeout(session.timer);
      if (flight.over || !this.#sessions.has(flight)) return;
      if (reply.kind !== 'written') {
        this.#notWritten(session, reply);
        return;
      }
      onEnd(change.action === 'keep' ? 'kept' : 'written');
      deliver({ ...result, output });
    } catch (error) {
      onEnd('failed');
      const why = isKerbError(error) ? refusalOf(error) : refusal(ErrorCode.StateNotKept, messageOf(error));
      this.#host!.fail(flight, why);
    }
  }

  #limitsOf(tenant: string) {
    return this.#parts.rules.policyOf(tenant).state;
  }

  /** Its turn has come. */
  async #turn(session: Session): Promise<void> {
    const { flight, key } = session;
    const reply = await this.#parts.store.ask({ kind: 'read', key, asker: await askerOf(flight) });
    if (flight.over || !this.#sessions.has(flight)) return;
    if (reply.kind === 'value') this.#enter(session, reply.version, reply.value);
    else this.#notWritten(session, reply);
  }

  #enter({ flight, timer }: Session, version: number, value: Uint8Array | undefined): void {
    clearTimeout(timer);
    flight.stateVersion = version;
    flight.framed = withState(value, flight.input);
    flight.stateRuns = (flight.stateRuns ?? 0) + 1;
    this.#host!.admit(flight);
  }

  #notWritten(session: Session, reply: StateReply): void {
    const { flight, key } = session;
    const { onEnd } = this.#parts;
    const host = this.#host!;
    clearTimeout(session.timer);
    if (reply.kind === 'applied') {
      onEnd('repeated');
      const { startedAt, ...facts } = JSON.parse(reply.facts) as StoredFacts;
      const output = Buffer.from(reply.output.buffer as ArrayBuffer, reply.output.byteOffset, reply.output.length);
      const began = performance.now() - (Date.now() - startedAt);
      // It must not be told that it ran where it was not to run.
      if (flight.isolation === 'vm' && facts.isolation !== 'vm') host.fail(flight, otherOffload(flight));
      else host.replay(flight, { ...facts, output, kept: true, durable: true }, began);
      return;
    }
    if (reply.kind === 'conflict') {
      onEnd('conflict');
      if ((flight.stateRuns ?? 0) < MAX_RUNS) {
        this.#enter(session, reply.version, reply.value);
        return;
      }
      const message = `the key ${key.key} was changed by others during each of ${MAX_RUNS} runs; nothing was written`;
      host.fail(flight, refusal(ErrorCode.StateConflict, message, 100));
      return;
    }
    if (reply.kind === 'quota') {
      onEnd('quota');
      host.fail(flight, stateFull(reply));
      return;
    }
    onEnd('failed');
    const why = reply.kind === 'failed' ? stateUnavailable(reply.reason) : otherOffload(flight);
    host.fail(flight, why);
  }

  /** @param isWriting it has run; whether its state will be on the disk is not known when its time is over */
  #watch(session: Session, isWriting = false): void {
    clearTimeout(session.timer);
    const { flight } = session;
    session.timer = setTimeout(() => {
      // A caller may have come meanwhile who waits for longer.
      if (!flight.deadline.isOver()) {
        this.#watch(session, isWriting);
        return;
      }
      flight.over = true;
      this.#host!.fail(flight, isWriting ? notDurableYet(flight) : turnTooLate(flight));
    }, flight.deadline.timerMs());
  }
}

interface StoredFacts extends RunFacts {
  readonly isolation: string;
}

function factsOf(result: TaskResult, startedAt: number): string {
  const { queueMs, startMs, runMs, cpuMs, peakMemory, isolation } = result;
  const facts: StoredFacts = {
    startedAt: Date.now() - (performance.now() - startedAt),
    ...{ queueMs, startMs, runMs, cpuMs, peakMemory, isolation },
  };
  return JSON.stringify(facts);
}

/** @throws KerbError GuestBadOutput | StateTooLarge */
function readChange({ runnable }: Session, framed: Buffer): { change: StateChange; output: Buffer } {
  const { name, state } = runnable;
  const reply = readReply(name, framed, state!);
  const { action, output } = reply;
  const ttlMs = state!.ttlMs ?? Number.POSITIVE_INFINITY;
  return { change: action === 'set' ? { action, value: reply.state, ttlMs } : { action }, output };
}

async function askerOf(flight: StatefulOffload) {
  const { tenant, vehicle, id, taskDigest, input } = flight;
  const digest = digestAtOnce(flight) ?? (await sha256Of(input));
  return { tenant, vehicle, id, request: Buffer.from(`${taskDigest} ${digest}`) };
}

/** A caller that does not hear the answer asks again within its budget, or within the time that it wants the result to be kept. */
function retryMs({ deadline, keepMs }: StatefulOffload): number {
  return Math.ceil(Math.max(LEAST_RETRY_MS, deadline.originalMs) + keepMs);
}
