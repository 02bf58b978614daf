import type { ObuOffers } from '../manifest/check.ts';
import { loadLeaves } from '../signals/start.ts';
import type { ObuConfig } from './config.ts';

/**
 * The buses, signals, cameras and tasks that manifests may name with this configuration. @throws KerbError
 * BadSignalMapping
 */
export async function offersOf(config: ObuConfig): Promise<ObuOffers> {
  return {
    buses: config.buses.map(({ name }) => name),
    cameras: config.cameras.map(({ name }) => name),
    tasks: [...config.tasks.keys()],
    signals: [...new Set((await loadLeaves(config.obu, config.signals)).map(({ path }) => path))],
  };
}
