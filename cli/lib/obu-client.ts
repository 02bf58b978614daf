import { join } from 'node:path';
import type { Command } from 'commander';
import type { ObuStatus } from '../../shared/api/status.ts';
import { runtimeFolder } from '../../shared/host/runtime-folder.ts';
import { type ApiAddress, connectDaemon, type DaemonClient } from './daemon-client.ts';

export type ApiOptions = ApiAddress;

/** The options that say which OBU a command is for. */
export function withApi(command: Command): Command {
  return command
    .option('--api <where>', 'control socket of the OBU, or https://HOST:PORT', join(runtimeFolder(), 'obu.sock'))
    .option('--identity <dir>', 'with https: certificate.pem, key.pem and ca.pem of an operator or of the vehicle');
}

/** Calls to a running OBU. */
export type ObuClient = DaemonClient<ObuStatus>;

/** @throws KerbError BadConfig | BadIdentity */
export function connectObu(options: ApiOptions): Promise<ObuClient> {
  return connectDaemon<ObuStatus>('obu', options);
}
