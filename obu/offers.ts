import type { ObuConfig } from './config.ts';
import type { ObuOffers } from './manifest/check.ts';
import { loadVssMapping } from './signals/vss-mapping.ts';

/** What manifests may speak of on an OBU with this configuration. @throws KerbError BadSignalMapping */
export async function offersOf(config: ObuConfig): Promise<ObuOffers> {
  return {
    buses: config.buses.map(({ name }) => name),
    cameras: config.cameras.map(({ name }) => name),
    tasks: [...config.tasks.keys()],
    signals: (await Promise.all(config.signals.mapping.map(loadVssMapping))).flat().map(({ path }) => path),
  };
}
