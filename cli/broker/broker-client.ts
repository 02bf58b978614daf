import type { Command } from 'commander';
import type { BrokerStatus } from '../../shared/api/status.ts';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import { brokersDir, runningSockets } from '../../shared/host/socket-directory.ts';
import { type ApiAddress, connectDaemon, type DaemonClient } from '../lib/daemon-client.ts';

export interface BrokerApiOptions extends Partial<ApiAddress> {}

/** The options that say which broker a command is for. */
export function withBrokerApi(command: Command): Command {
  return command
    .option('--api <where>', 'control socket of the broker, or https://HOST:PORT (default: the one that runs here)')
    .option('--identity <dir>', 'with https: certificate.pem, key.pem and ca.pem of an operator');
}

/** Calls to a running broker. */
export type BrokerApi = DaemonClient<BrokerStatus>;

/**
 * The broker that was named, or the only one that runs on this machine for this user.
 * @throws KerbError BadConfig | BadIdentity | ApiUnavailable
 */
export async function connectBroker({ api, identity }: BrokerApiOptions, dir = brokersDir()): Promise<BrokerApi> {
  const where = api ?? (await onlyOne(dir));
  return await connectDaemon<BrokerStatus>('broker', { api: where, ...(identity !== undefined && { identity }) });
}

async function onlyOne(dir: string): Promise<string> {
  const found = await runningSockets(dir);
  if (found.length === 1) return found[0]!.path;
  if (found.length === 0) {
    const message = 'no broker of this user runs here; start one with kerb broker serve, or name its socket with --api';
    throw new KerbError(ErrorCode.ApiUnavailable, message);
  }
  const list = found.map(({ id, path }) => `${id}: --api ${path}`).join('; ');
  throw new KerbError(ErrorCode.BadConfig, `${found.length} brokers run here; say which one is meant (${list})`);
}
