import { ErrorCode, isKerbError, KerbError, messageOf } from '../../shared/base/errors.ts';
import { refusalFrom, refusalOf } from '../../shared/base/refusal.ts';
import { isId, isTenant } from '../../shared/identity/identity.ts';
import { kerbside } from '../../shared/protocol/generated/v2e.js';
import { shownRefusal } from '../../shared/protocol/shown-refusal.ts';
import { decodeState, encodeConflict, encodeEntry, encodeState } from '../ingress/replies.ts';
import type { KeyAnswer, KeyAsker, KeyRequest, KeyRequests } from '../state/key-requests.ts';
import { MAX_VALUE } from '../state/state-types.ts';
import type { TenantRules } from '../tenants/policy.ts';
import type { NeighbourEvents } from './neighbour-events.ts';
import type { Neighbours } from './neighbours.ts';
import { forbidden } from './pieces.ts';

const { ForwardedState, NeighbourReply, StateReply } = kerbside.v2e;

export interface StateForwardingOptions {
  readonly neighbours: () => Pick<Neighbours, 'may' | 'link'>;
  readonly keys: () => Pick<KeyRequests, 'answer'>;
  readonly rules: Pick<TenantRules, 'refusalOf'>;
  readonly events: Pick<NeighbourEvents, 'forwarded' | 'fetched'>;
}

/** Below the 5 s that a vehicle waits for, so that it is told who does not answer. */
const ANSWER_MS = 4000;
/** Requests that one home has not answered yet: as many as it answers at once; and those of one tenant among them. */
const MAX_OPEN = 16;
const MAX_OF_TENANT = 8;

/**
 * Keys of sessions that a neighbour keeps, for the vehicles that are here, and the other way round. Both policies have to name
 * the other broker for the tenant, with `state`. Nothing is kept or tried again here: the home alone says what a value is.
 */
export class StateForwarding {
  readonly #options: StateForwardingOptions;
  /** The tenants of requests that are not answered, by home. */
  readonly #open = new Map<string, string[]>();

  constructor(options: StateForwardingOptions) {
    this.#options = options;
  }

  /** Undefined: the policy does not name the home for this tenant. Never rejects. */
  ask(client: KeyAsker, request: KeyRequest): Promise<KeyAnswer> | undefined {
    const { home } = request;
    return this.#options.neighbours().may(home, client.tenant, 'state') ? this.#ask(client, request) : undefined;
  }

  async #ask(client: KeyAsker, request: KeyRequest): Promise<KeyAnswer> {
    const { home } = request;
    const { tenant } = client;
    const open = this.#open.get(home) ?? [];
    if (open.length >= MAX_OPEN || open.filter((one) => one === tenant).length >= MAX_OF_TENANT) {
      const message = `too many requests for state wait for broker ${home}; try again later`;
      return { refusal: refusalOf(new KerbError(ErrorCode.QueueFull, message, { retryAfterMs: 1000 })) };
    }
    this.#open.set(home, open);
    open.push(tenant);
    try {
      const answer = await this.#forward(client, request);
      this.#options.events.forwarded('state', home, answer.refusal === undefined ? 'taken' : 'refused');
      return answer;
    } catch (error) {
      const isRefused = isKerbError(error) && error.context.refused === true;
      this.#options.events.forwarded('state', home, isRefused ? 'refused' : 'failed');
      const problem = isKerbError(error) ? error : new KerbError(ErrorCode.BrokerLost, messageOf(error));
      const unclear = isRefused || request.operation === 'get' ? '' : '; whether it has been done is not known';
      return { refusal: { ...refusalOf(problem), message: problem.message + unclear, tryBroker: home } };
    } finally {
      open.splice(open.indexOf(tenant), 1);
      if (open.length === 0) this.#open.delete(home);
    }
  }

  async #forward({ tenant, id: vehicle }: KeyAsker, request: KeyRequest): Promise<KeyAnswer> {
    const { home } = request;
    const link = this.#options.neighbours().link(home);
    if (link === undefined) {
      const message = `broker ${home}, which keeps the state, is not connected; nothing was done`;
      return { refusal: refusalOf(new KerbError(ErrorCode.NoBroker, message, { retryAfterMs: 1000 })) };
    }
    const bytes = ForwardedState.encode({ tenant, vehicle, request: encodeState(request) }).finish();
    const { data } = await link.ask('state', bytes, ANSWER_MS);
    return answerFrom(home, data ?? new Uint8Array(0));
  }

  /** The handler of `state`. @throws KerbError */
  async asked(neighbour: string, bytes: Buffer): Promise<Uint8Array> {
    const { tenant, vehicle, request } = ForwardedState.decode(bytes);
    if (!isTenant(tenant) || !isId(vehicle)) throw forbidden('its names are not valid');
    const { neighbours, keys, rules, events } = this.#options;
    try {
      if (!neighbours().may(neighbour, tenant, 'state')) {
        const message = `broker ${neighbour} may not use the state of tenant ${tenant} here; whoever runs this broker allows that in its policy (neighbours)`;
        throw new KerbError(ErrorCode.StateForbidden, message);
      }
      const why = rules.refusalOf({ tenant });
      if (why !== undefined) throw why;
      const asked = decodeState(Buffer.from(request));
      const answer = await keys().answer({ tenant, id: vehicle, via: neighbour }, asked);
      events.fetched('state', neighbour, answer.refusal === undefined ? 'taken' : 'refused');
      const data =
        answer.refusal === undefined
          ? encodeEntry(answer.entry)
          : encodeConflict(shownRefusal(answer.refusal), answer.current ?? 0);
      return NeighbourReply.encode({ data }).finish();
    } catch (error) {
      events.fetched('state', neighbour, 'refused');
      throw error;
    }
  }
}

/** @throws KerbError BadProtocolMessage */
function answerFrom(home: string, bytes: Uint8Array): KeyAnswer {
  let reply: ReturnType<typeof StateReply.decode>;
  try {
    reply = StateReply.decode(bytes);
    if (reply.outcome === undefined) throw new Error('it holds neither an entry nor a refusal');
    if ((reply.entry?.value?.length ?? 0) > MAX_VALUE) throw new Error(`its value is larger than ${MAX_VALUE} bytes`);
    if (!Number.isSafeInteger(Number(reply.entry?.version ?? reply.current)))
      throw new Error('its version is too high');
  } catch (cause) {
    const message = `the neighbour ${home} sent an answer that cannot be read: ${messageOf(cause)}`;
    throw new KerbError(ErrorCode.BadProtocolMessage, message, { neighbour: home }, { cause });
  }
  if (reply.refusal != null) return { refusal: refusalFrom(reply.refusal), current: Number(reply.current) };
  const { version, value, expiresInMs } = reply.entry ?? {};
  const entry = { version: Number(version ?? 0), value: value ?? undefined, expiresInMs: Number(expiresInMs ?? 0) };
  return { entry };
}
