import { ErrorCode, KerbError } from '../base/errors.ts';
import { GatewayClient } from './client.ts';
import type { Obu } from './obu.ts';

export interface ConnectOptions {
  /** Path of the gateway socket; by default what the OBU put into KERBSIDE_GATEWAY. */
  readonly path?: string;
  /** Milliseconds to wait for the OBU to answer, 10,000 by default. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/**
 * Reaches the OBU that started this container.
 * @throws KerbError ConnectionLost when it does not answer in time, BadGatewayRequest when it refuses this version of
 * the protocol, Cancelled, BadConfig when there is no path
 */
export async function connect(options: ConnectOptions = {}): Promise<Obu> {
  const path = options.path ?? process.env.KERBSIDE_GATEWAY;
  if (!path) {
    throw new KerbError(
      ErrorCode.BadConfig,
      'KERBSIDE_GATEWAY is not set: this program runs in a container that a Kerbside OBU starts, or needs `path`',
    );
  }
  const client = new GatewayClient(path);
  await client.open(options.timeoutMs ?? 10_000, options.signal);
  return client;
}
