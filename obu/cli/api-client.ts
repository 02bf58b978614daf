import { type ControlCall, callControl, getStatus } from '../../shared/api/control-client.ts';
import type { ObuStatus } from '../../shared/api/status.ts';
import { isErrno, isKerbError, KerbError } from '../../shared/errors.ts';

/** @throws KerbError ApiUnavailable that says what to do when no OBU is there at all */
export function statusOf(api: string): Promise<ObuStatus> {
  return reachable(api, () => getStatus<ObuStatus>(api));
}

/** One call that answers with JSON. @throws KerbError ApiUnavailable as above; the OBU's own error when it sent one */
export async function askObu<Reply>(api: string, path: string, call?: ControlCall): Promise<Reply> {
  const body = await reachable(api, () => callControl(api, path, call));
  return JSON.parse(body.toString('utf8')) as Reply;
}

async function reachable<T>(api: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    if (!isKerbError(error) || !(isErrno(error.cause, 'ENOENT') || isErrno(error.cause, 'ECONNREFUSED'))) throw error;
    throw new KerbError(
      error.code,
      `no OBU runs at ${api} (${error.cause.code}); start one with kerb obu serve, or name its socket with --api: npm start has it at .kerbside/run/obu.sock`,
      { api },
      { cause: error },
    );
  }
}
