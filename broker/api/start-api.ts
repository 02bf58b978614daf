import type { ControlRoutes } from '../../shared/api/control-routes.ts';
import { createControlServer } from '../../shared/api/control-server.ts';
import { RemoteApi } from '../../shared/api/remote-api.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import type { RunningParts } from '../../shared/base/running-parts.ts';
import { SocketEntry } from '../../shared/host/socket-directory.ts';
import { IdentityWatch } from '../../shared/identity/identity-watch.ts';
import type { BrokerConfig } from '../config.ts';
import type { Drain } from '../offloads/drain.ts';
import type { BrokerTelemetry } from '../telemetry/telemetry.ts';
import type { TenantData } from './forget.ts';
import { type BrokerSnapshots, brokerRoutes } from './routes.ts';
import type { VersionRules } from './versions.ts';

export interface ApiParts {
  readonly config: BrokerConfig;
  readonly telemetry: BrokerTelemetry;
  readonly drain: Drain;
  readonly snapshots: BrokerSnapshots;
  readonly data: Omit<TenantData, 'stateDir'>;
  readonly versions: VersionRules;
  /** The operators that the policy names, at this moment. */
  readonly operators: () => readonly string[];
  readonly log: Logger;
}

/** Serves the control API on its socket and, when the configuration says so, over TLS. */
export async function startApi(running: RunningParts, parts: ApiParts): Promise<RemoteApi | undefined> {
  const { config, telemetry, drain, snapshots, data, versions, log } = parts;
  const routes = brokerRoutes({
    ...{ snapshots, drain, versions, data: { ...data, stateDir: config.stateDir } },
    events: telemetry.events.log,
    metrics: () => telemetry.metrics.text(),
  });
  await running.begin('control', createControlServer({ socketPath: config.apiSocket, routes, log }));
  if (config.socketsDir !== undefined) {
    await running.begin('socket entry', new SocketEntry(config.socketsDir, config.id, config.apiSocket));
  }
  return await startRemoteApi(running, parts, routes);
}

async function startRemoteApi(
  running: RunningParts,
  { config, telemetry, operators, log }: ApiParts,
  routes: ControlRoutes,
): Promise<RemoteApi | undefined> {
  const { api, id, identityDir: dir } = config;
  if (api === undefined) return undefined;
  // The watch of the ingress reports what is wrong with the identity.
  const identity = new IdentityWatch({ dir, kind: 'broker', id });
  await running.begin('identity of the API', identity);
  const remote = new RemoteApi({
    ...{ listen: api.listen, identity, routes },
    mayCall: ({ kind, id: name }) =>
      kind === 'operator' && (api.operators.includes(name) || operators().includes(name)),
    howAllowed: 'operators are named with --api-operators or in the policy',
    listenKey: '--api-listen',
    onFault: (reason) => telemetry.errors.add('api', ErrorCode.ApiUnavailable, reason),
    log: log.child({ part: 'api' }),
  });
  await running.begin('API', remote);
  return remote;
}
