import { ErrorCode, errorName, KerbError, messageOf } from '../base/errors.ts';
import { refusalFrom } from '../base/refusal.ts';
import { kerbside } from '../protocol/generated/v2e.js';
import { bytesOf } from '../protocol/v2e-socket.ts';
import type { BrokerLink } from './broker-link.ts';
import { keepsNoState } from './link-errors.ts';
import type { SessionReference } from './offload-result.ts';

const { StateReply, StateRequest, StateOperation } = kerbside.v2e;

/** A disk may be slow; no caller waits for longer than for a connection that was lost. */
const STATE_TIMEOUT_MS = 5000;

export const STATE_OPERATIONS = ['get', 'put', 'cas', 'delete'] as const;
export type StateOperationName = (typeof STATE_OPERATIONS)[number];

const WIRE = {
  get: StateOperation.GET,
  put: StateOperation.PUT,
  cas: StateOperation.COMPARE_AND_SET,
  delete: StateOperation.DELETE,
};

/** One operation on one key of the state of sessions. */
export interface StateCall {
  readonly operation: StateOperationName;
  /** Of `put` and `cas`. */
  readonly value?: Uint8Array | undefined;
  /** Of `cas`, and perhaps of `delete`: the version that must be there; 0: there must be no value. */
  readonly expected?: number | undefined;
  /** Milliseconds that it is kept without being written; left out: as long as it may be. */
  readonly ttlMs?: number | undefined;
}

export interface StateEntry {
  /** That is there now; 0: there is no value. */
  readonly version: number;
  /** Of `get`; else empty. */
  readonly value: Uint8Array;
  readonly expiresInMs: number;
}

/**
 * Reads or writes one key at the broker that keeps it, without an offload. A change that is answered is on the disk.
 * @param task its name
 * @throws KerbError with the code of the broker's refusal (`context.version`: what is there, of StateConflict); NotSupported;
 * NoBroker; BrokerLost: it may have been done; BadProtocolMessage
 */
export async function askState(
  link: BrokerLink,
  state: SessionReference,
  task: string,
  { operation, value, expected, ttlMs }: StateCall,
): Promise<StateEntry> {
  if (link.connected && !link.features.includes('state')) throw keepsNoState(link.broker);
  const { home, key, tenant } = state;
  const request = { state: { home, key, tenant }, task, operation: WIRE[operation], value, expected, ttlMs };
  const bytes = StateRequest.encode(request).finish();
  const payload = await link.ask('state', bytes, STATE_TIMEOUT_MS, 'whether it has been done is not known');
  return entryFrom(link.broker, payload);
}

function entryFrom(broker: string, payload: unknown): StateEntry {
  let reply: ReturnType<typeof StateReply.decode>;
  try {
    reply = StateReply.decode(bytesOf(payload));
    if (reply.outcome === undefined) throw new Error('it holds neither an entry nor a refusal');
  } catch (cause) {
    const message = `broker ${broker} sent an answer that cannot be read: ${messageOf(cause)}`;
    throw new KerbError(ErrorCode.BadProtocolMessage, message, { broker }, { cause });
  }
  if (reply.refusal == null) {
    const { version, value, expiresInMs } = reply.entry ?? {};
    return { version: Number(version ?? 0), value: value ?? new Uint8Array(0), expiresInMs: Number(expiresInMs ?? 0) };
  }
  const { code, message, retryAfterMs } = refusalFrom(reply.refusal);
  const known = errorName(code) === 'Unknown' ? ErrorCode.OffloadRefused : (code as ErrorCode);
  const context = {
    ...{ broker, refusal: code, retryAfterMs },
    ...(known === ErrorCode.StateConflict && { version: Number(reply.current) }),
  };
  throw new KerbError(known, `broker ${broker}: ${message}`, context);
}
