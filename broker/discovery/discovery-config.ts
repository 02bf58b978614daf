import type { BrokerKind } from '../../shared/discovery/announcement.ts';
import type { MulticastOptions } from '../../shared/discovery/multicast.ts';

/** How a broker is found, and finds others. */
export interface DiscoveryConfig {
  /** Groups that it announces itself to, and listens to; empty: it does neither. */
  readonly groups: readonly MulticastOptions[];
  /** The address where vehicles connect; empty: at the address that an announcement comes from. */
  readonly host: string;
  readonly kind: BrokerKind;
  /** Degrees, WGS 84. */
  readonly position: { readonly latitude: number; readonly longitude: number } | undefined;
  /** Metres; 0: not known. */
  readonly rangeM: number;
}

export const NO_DISCOVERY: DiscoveryConfig = {
  groups: [],
  host: '',
  kind: 'roadside',
  position: undefined,
  rangeM: 0,
};
