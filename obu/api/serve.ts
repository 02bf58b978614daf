/** Serves the control API of an OBU over TLS, when its configuration asks for it. */
import type { ControlRoutes } from '../../shared/api/control-routes.ts';
import { TlsControlServer } from '../../shared/api/tls-control-server.ts';
import type { Principal } from '../../shared/identity/identity.ts';
import type { Logger } from '../../shared/log.ts';
import type { ObuConfig } from '../config.ts';
import { vehicleIdentity } from '../identity.ts';

/** Not yet started; undefined when it is not asked for. @throws KerbError BadIdentity */
export async function createRemoteApi(
  config: ObuConfig,
  routes: ControlRoutes,
  log: Logger,
): Promise<TlsControlServer | undefined> {
  const { api, vehicle } = config;
  if (api === undefined) return undefined;
  const identity = await vehicleIdentity(config);
  const mayCall = (caller: Principal) => mayOperate(caller, vehicle, api.operators);
  return new TlsControlServer({ listen: api.listen, identity, mayCall, routes, log });
}

/** The vehicle itself, which is its other OBUs and who works on it with its identity, and operators that it names. */
export function mayOperate({ kind, id }: Principal, vehicle: string, operators: readonly string[]): boolean {
  switch (kind) {
    case 'vehicle':
      return id === vehicle;
    case 'operator':
      return operators.includes(id);
    case 'broker':
      return false;
  }
}
