import { ErrorCode, KerbError } from '../../../shared/base/errors.ts';
import type { kerbside } from '../../../shared/protocol/generated/gateway.js';
import { STATE_OPERATIONS, type StateEntry } from '../../../shared/v2e-client/state-requests.ts';
import type { GrantGuard } from '../../grants/grants.ts';
import type { Offloader } from '../../offload/offloader.ts';

/** Of one workload, at the same time. */
export const MAX_STATE_REQUESTS = 32;

/** Bytes of one value, as V2E has it. */
const MAX_VALUE = 64 * 1024;

/** Single keys of session state, for one workload: those of its grant, under the tasks of its grant. */
export class StateService {
  readonly #guard: GrantGuard;
  readonly #offloader: Offloader;
  #open = 0;

  constructor(guard: GrantGuard, offloader: Offloader) {
    this.#guard = guard;
    this.#offloader = offloader;
  }

  /**
   * @param ask as it came from the container: nothing of it is checked
   * @throws KerbError BadGatewayRequest | NotGranted | UnknownTask | StateTooLarge | TooManyRequests | what Offloader.useState says
   */
  async use(ask: kerbside.gateway.v1.UseState.$Properties): Promise<StateEntry> {
    const operation = STATE_OPERATIONS.find((one) => one === ask.operation);
    if (operation === undefined) {
      const message = 'the operation on a session state is "get", "put", "cas" or "delete"';
      throw new KerbError(ErrorCode.BadGatewayRequest, message);
    }
    const { task, key, value, ttlMs } = { task: '', key: '', ...ask };
    const taskDigest = this.#guard.task(task ?? '', 0);
    this.#guard.state(key ?? '');
    const size = value?.length ?? 0;
    if (size > MAX_VALUE) {
      const message = `a value of ${size} bytes is too large for a session state: it may have ${MAX_VALUE}`;
      throw new KerbError(ErrorCode.StateTooLarge, message);
    }
    if (this.#open >= MAX_STATE_REQUESTS) {
      const message = `${MAX_STATE_REQUESTS} requests for session state are open, which is the limit`;
      throw new KerbError(ErrorCode.TooManyRequests, message);
    }
    const expected = ask.expected == null ? undefined : Number(ask.expected);
    this.#open++;
    try {
      const call = { operation, value: value ?? undefined, expected, ttlMs: ttlMs ?? undefined };
      return await this.#offloader.useState({ taskDigest, key: key ?? '', ...call });
    } finally {
      this.#open--;
    }
  }
}
