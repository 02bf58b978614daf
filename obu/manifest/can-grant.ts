import type { RawService } from './schema/schema.ts';
import type { CanGrant } from './workload.ts';

type RawGrants = NonNullable<NonNullable<RawService['x-obu']>['grants']>;
export type RawCanGrant = NonNullable<RawGrants['can']>[number];

export function toCanGrant(grant: RawCanGrant): CanGrant {
  return {
    bus: grant.bus,
    read: grant.read ?? [],
    write: (grant.write ?? []).map(({ id, len, maxRate }) => ({ ...id, length: len, maxPerSecond: maxRate })),
    as: grant.as ?? 'socket',
    when: grant.when,
  };
}
