import { RemoteApi, type RemoteApiOptions } from '../../shared/api/remote-api.ts';
import type { Principal } from '../../shared/identity/identity.ts';
import type { ObuConfig } from '../config/config.ts';
import type { Report } from '../telemetry/report.ts';

export interface VehicleApiOptions extends Pick<RemoteApiOptions, 'identity' | 'routes' | 'log'> {
  readonly api: NonNullable<ObuConfig['api']>;
  readonly vehicle: string;
  readonly report: Report;
}

/** The control API of an OBU over TLS, when its configuration asks for it. */
export function vehicleApi({ api, vehicle, report, ...parts }: VehicleApiOptions): RemoteApi {
  return new RemoteApi({
    ...parts,
    listen: api.listen,
    mayCall: (caller) => mayOperate(caller, vehicle, api.operators),
    howAllowed: 'operators are named in its configuration under api.operators',
    listenKey: 'api.listen in the configuration',
    onFault: (reason) => report({ event: 'remote-api-fault', reason }),
  });
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
