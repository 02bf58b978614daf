import { ErrorCode, isKerbError, KerbError } from '../base/errors.ts';
import { type ServerMessage, type StateEntry, toStateEntry } from './messages.ts';
import type { Requests } from './requests.ts';

/**
 * The session state that the grant `offload.state` names, at the broker that keeps it: what tasks with state have written, and
 * what they find at their next run. A value belongs to one task. What is written is on the broker's disk when it settles.
 *
 * All fail with NotGranted | UnknownTask | NoBroker | NotSupported | StateNotKept | StateForbidden | TooManyRequests | Cancelled, and
 * with BrokerLost or ConnectionLost when there was no answer: whether it was written is then not known, and `get` tells.
 */
export interface SessionState {
  /** Undefined: there is no value. */
  get(task: string, key: string, options?: { readonly signal?: AbortSignal }): Promise<StateEntry | undefined>;
  /**
   * Writes it, whatever is there.
   * @param value at most 64 KiB, and at most what the task declares
   * @param options.ttlMs How long it is kept without being written; left out: as long as it may be.
   * @returns the version that it has now
   * @throws KerbError StateTooLarge | QuotaSpent (`context.retryAfterMs`)
   */
  put(
    task: string,
    key: string,
    value: Uint8Array,
    options?: { readonly ttlMs?: number; readonly signal?: AbortSignal },
  ): Promise<number>;
  /**
   * Writes it if no other caller has meanwhile.
   * @param expected the version that must be there; 0: there must be no value
   * @returns the version that it has now
   * @throws KerbError StateConflict (`context.version`: the version that is there) | StateTooLarge | QuotaSpent
   */
  compareAndSet(
    task: string,
    key: string,
    expected: number,
    value: Uint8Array,
    options?: { readonly ttlMs?: number; readonly signal?: AbortSignal },
  ): Promise<number>;
  /**
   * Removes it; there need not be one.
   * @param options.expected Only when this version is there; left out: any.
   * @throws KerbError StateConflict (`context.version`)
   */
  delete(
    task: string,
    key: string,
    options?: { readonly expected?: number; readonly signal?: AbortSignal },
  ): Promise<void>;
}

const LOST = 'the OBU disconnected while a session state was being written; whether it was is not known';

const read = ({ stateDone }: ServerMessage) => stateDone && { answer: toStateEntry(stateDone) };

export class StateCalls implements SessionState {
  readonly #requests: Pick<Requests, 'askOnce'>;

  constructor(requests: Pick<Requests, 'askOnce'>) {
    this.#requests = requests;
  }

  async get(task: string, key: string, options: { signal?: AbortSignal } = {}): Promise<StateEntry | undefined> {
    try {
      return await this.#requests.askOnce({ useState: { operation: 'get', task, key } }, read, options.signal);
    } catch (error) {
      if (isKerbError(error) && error.code === ErrorCode.UnknownStateKey) return undefined;
      throw error;
    }
  }

  async put(
    task: string,
    key: string,
    value: Uint8Array,
    options: { ttlMs?: number; signal?: AbortSignal } = {},
  ): Promise<number> {
    const useState = { operation: 'put', task, key, value, ttlMs: wholeNumber('ttlMs', options.ttlMs) };
    return (await this.#requests.askOnce({ useState }, read, options.signal, LOST)).version;
  }

  async compareAndSet(
    task: string,
    key: string,
    expected: number,
    value: Uint8Array,
    options: { ttlMs?: number; signal?: AbortSignal } = {},
  ): Promise<number> {
    const ttlMs = wholeNumber('ttlMs', options.ttlMs);
    const useState = { operation: 'cas', task, key, value, expected: wholeNumber('expected', expected), ttlMs };
    return (await this.#requests.askOnce({ useState }, read, options.signal, LOST)).version;
  }

  async delete(task: string, key: string, options: { expected?: number; signal?: AbortSignal } = {}): Promise<void> {
    const useState = { operation: 'delete', task, key, expected: wholeNumber('expected', options.expected) };
    await this.#requests.askOnce({ useState }, read, options.signal, LOST);
  }
}

/** Turns an invalid value into an error before it is sent. @throws KerbError BadGatewayRequest */
function wholeNumber(what: string, value: number | undefined): number | undefined {
  const most = what === 'ttlMs' ? 0xffff_ffff : Number.MAX_SAFE_INTEGER;
  if (value === undefined || (Number.isInteger(value) && value >= 0 && value <= most)) return value;
  throw new KerbError(ErrorCode.BadGatewayRequest, `${what} is not a whole number from 0 to ${most}`);
}
