import { ErrorCode, KerbError, messageOf } from '../../shared/base/errors.ts';
import type { VehiclePrincipal } from '../../shared/identity/identity.ts';
import { commonVersion, type Greeting, greetingFrom, V2E_VERSIONS } from '../../shared/protocol/greeting.ts';
import type { ConnectedVehicle } from './link-types.ts';

/**
 * The client of a connection, by what it said with its CONNECT.
 * @throws KerbError BadProtocolMessage | NotSupported
 */
export function greetedClient(auth: unknown, client: VehiclePrincipal, expiresAt: number): ConnectedVehicle {
  let greeting: Greeting;
  try {
    greeting = greetingFrom(auth);
  } catch (error) {
    throw new KerbError(ErrorCode.BadProtocolMessage, `the greeting cannot be used: ${messageOf(error)}`);
  }
  const { versions, features } = greeting;
  const version = commonVersion(versions);
  if (version === undefined) {
    throw new KerbError(
      ErrorCode.NotSupported,
      `this broker speaks versions ${V2E_VERSIONS.join(' and ')} of V2E, and the client ${versions.join(', ')}`,
    );
  }
  return { ...client, expiresAt, version, chunks: version >= 2 && features.includes('chunks') };
}
