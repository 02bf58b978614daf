/** Single keys of the state of sessions, as vehicles ask for them without an offload. */
import { ErrorCode } from '../../shared/base/errors.ts';
import { type Refusal, refusal } from '../../shared/base/refusal.ts';
import type { TaskState } from '../../shared/task-package/format.ts';
import { stateFull, stateUnavailable } from '../offloads/state-refusals.ts';
import type { TenantRules } from '../tenants/policy.ts';
import { keyFor } from './state-access.ts';
import type { StateStore } from './state-store.ts';
import type { StateChange, StateKey, StateReply } from './state-types.ts';

export type KeyOperation = 'get' | 'put' | 'cas' | 'delete';

/** As it came: its shape is checked, and nothing else. */
export interface KeyRequest {
  /** Id of the broker that keeps it. */
  readonly home: string;
  readonly key: string;
  /** Whose it is; empty: the asker's own. */
  readonly tenant: string;
  /** Name of the task. */
  readonly task: string;
  readonly operation: KeyOperation;
  /** Empty for `get` and `delete`. */
  readonly value: Uint8Array;
  /** The version that must be there, 0: none; undefined: any. */
  readonly expected: number | undefined;
  /** Milliseconds; 0: as long as it may be kept. */
  readonly ttlMs: number;
}

/** The value that is there now; `value` only of `get`. */
export interface KeyEntry {
  /** 0: there is no value. */
  readonly version: number;
  readonly value?: Uint8Array | undefined;
  /** Milliseconds. */
  readonly expiresInMs: number;
}

export type KeyAnswer =
  | { readonly entry: KeyEntry; readonly refusal?: undefined }
  /** `current`: the version that is there, when another one was expected. */
  | { readonly refusal: Refusal; readonly current?: number };

export interface KeyRequestsParts {
  /** Id of this broker, as in its certificate. */
  readonly broker: string;
  readonly store: Pick<StateStore, 'ask'>;
  readonly rules: Pick<TenantRules, 'policyOf'>;
  /** Of the tasks of this name that the tenant may run; undefined: there is none that has state. */
  readonly stateOf: (tenant: string, task: string) => TaskState | undefined;
  /** Asks the home, where this broker may do that; undefined: it may not, and the vehicle is told to ask there. */
  readonly atHome: (client: KeyAsker, request: KeyRequest) => Promise<KeyAnswer> | undefined;
  readonly onEnd: (client: KeyAsker, request: KeyRequest, answer: KeyAnswer) => void;
}

/** The vehicle, by its certificate. */
export interface KeyAsker {
  readonly tenant: string;
  readonly id: string;
  /** The neighbour that asks for it; undefined: it asks itself. */
  readonly via?: string;
}

/** By the rules of offloads: a key belongs to tenant, task and vehicle of the certificate, unless the policy shares it. */
export class KeyRequests {
  readonly #parts: KeyRequestsParts;

  constructor(parts: KeyRequestsParts) {
    this.#parts = parts;
  }

  /** Never throws. A change that is answered with an entry is on the disk. */
  async answer(client: KeyAsker, request: KeyRequest): Promise<KeyAnswer> {
    const answer = await this.#answer(client, request);
    this.#parts.onEnd(client, request, answer);
    return answer;
  }

  async #answer(client: KeyAsker, request: KeyRequest): Promise<KeyAnswer> {
    const { broker, store, rules, stateOf, atHome } = this.#parts;
    const { tenant, id: vehicle, via } = client;
    const { home, key, task, operation, value, expected } = request;
    if (home !== broker) {
      // The request of a neighbour goes no further: brokers that are wrong about a home do not ask in a circle.
      const forwarded = via === undefined ? atHome(client, request) : undefined;
      if (forwarded !== undefined) return await forwarded;
      const message = `the key ${key} is kept by broker ${home}, and this is broker ${broker}; ask there`;
      return { refusal: { code: ErrorCode.StateElsewhere, message, retryAfterMs: 0, tryBroker: home } };
    }
    const declared = stateOf(tenant, task);
    if (declared === undefined) return refused(ErrorCode.UnknownPackage, `no task ${task} with state is run here`);
    const whose = keyFor(rules, { tenant, vehicle }, task, request);
    if ('code' in whose) return { refusal: whose };
    if (operation === 'get') return found(whose, await store.ask({ kind: 'read', key: whose, asker: undefined }));
    if (value.length > declared.maxBytes) {
      const message = `a value of ${value.length} bytes is too large: the state of ${task} has at most ${declared.maxBytes}`;
      return refused(ErrorCode.StateTooLarge, message);
    }
    const limits = rules.policyOf(whose.tenant).state;
    const ttlMs = Math.min(request.ttlMs || Number.POSITIVE_INFINITY, declared.ttlMs ?? Infinity, limits.ttlMs);
    const change: StateChange = operation === 'delete' ? { action: 'delete' } : { action: 'set', value, ttlMs };
    const commit = { kind: 'commit', key: whose, expected, change, applied: undefined } as const;
    return changed(whose, expected, ttlMs, await store.ask({ ...commit, limits, askerLimits: limits }));
  }
}

function found({ task, key }: StateKey, reply: StateReply): KeyAnswer {
  if (reply.kind !== 'value') return failed(reply);
  if (reply.version !== 0) return { entry: reply };
  return refused(ErrorCode.UnknownStateKey, `there is no value under the key ${key} of ${task}`);
}

function changed({ key }: StateKey, expected: number | undefined, ttlMs: number, reply: StateReply): KeyAnswer {
  if (reply.kind === 'written') {
    const { version } = reply;
    return { entry: { version, expiresInMs: version === 0 ? 0 : ttlMs } };
  }
  if (reply.kind === 'quota') return { refusal: stateFull(reply) };
  if (reply.kind !== 'conflict') return failed(reply);
  const there = reply.version === 0 ? 'has no value' : `is at version ${reply.version}`;
  const message = `the key ${key} ${there}, and version ${expected} was expected; nothing was written`;
  return { ...refused(ErrorCode.StateConflict, message), current: reply.version };
}

function failed(reply: StateReply): KeyAnswer {
  return { refusal: stateUnavailable(reply.kind === 'failed' ? reply.reason : 'its answer cannot be used') };
}

function refused(code: ErrorCode, message: string): { readonly refusal: Refusal } {
  return { refusal: refusal(code, message) };
}
