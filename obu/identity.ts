import { ErrorCode, KerbError } from '../shared/errors.ts';
import type { Identity } from '../shared/identity/identity.ts';
import { loadIdentity } from '../shared/identity/x509-identity.ts';
import type { ObuConfig } from './config.ts';

/** The identity that the configuration names. @throws KerbError BadIdentity | BadConfig */
export async function vehicleIdentity({ identity: folder, vehicle }: ObuConfig): Promise<Identity> {
  if (folder === undefined) throw new KerbError(ErrorCode.BadConfig, 'the configuration names no `identity`');
  const identity = await loadIdentity(folder, 'vehicle');
  if (identity.self.id === vehicle) return identity;
  throw new KerbError(
    ErrorCode.BadIdentity,
    `the identity in ${folder} is that of vehicle "${identity.self.id}", and the configuration says "${vehicle}"`,
  );
}
