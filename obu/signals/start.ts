/** The signals of an OBU, out of its configuration. */

import type { Logger } from '../../shared/base/log.ts';
import type { Dbc } from '../../shared/dbc/dbc.ts';
import { loadDbc } from '../../shared/dbc/parser/dbc-parser.ts';
import { pathMatcher } from '../../shared/vss/expand-paths.ts';
import { loadVssMapping, loadVssTree, type VssLeaf } from '../../shared/vss/vss-mapping.ts';
import type { CanRouter } from '../can/router.ts';
import { ownLeaves } from './control-unit-signals.ts';
import { checkDefaults, loadDefaults } from './default-values.ts';
import { gpsdLeaves } from './gpsd-report.ts';
import { type GpsdConfig, GpsdSource } from './gpsd-source.ts';
import { SignalStore } from './signal-store.ts';

/** The part of the configuration that speaks of signals. Paths of files are absolute. */
export interface SignalsConfig {
  /** DBC files by bus. */
  readonly dbc: ReadonlyMap<string, readonly string[]>;
  /** VSS mapping files. Of a path that is in several of them, the sources of the first rank higher. */
  readonly mapping: readonly string[];
  /** VSS files whose paths exist as well, for workloads to provide. */
  readonly vss: readonly string[];
  /** JSON files with physical values of DBC signals, for frames that the OBU sends. */
  readonly defaults: readonly string[];
  /** By path or branch, `*` for one level: names of sources (bus, workload), best first. The first that fits counts. */
  readonly sources: ReadonlyMap<string, readonly string[]>;
  /** A further source, of position, heading and speed; undefined: none. */
  readonly gpsd?: GpsdConfig | undefined;
}

/** Every leaf of an OBU. @throws KerbError BadSignalMapping */
export async function loadLeaves(obu: string, config: SignalsConfig): Promise<VssLeaf[]> {
  const mapped = await Promise.all(config.mapping.map(loadVssMapping));
  const trees = await Promise.all(config.vss.map(loadVssTree));
  const leaves = [...mapped, ...trees, ownLeaves(obu)].flat();
  return config.gpsd === undefined ? leaves : [...leaves, ...gpsdLeaves(new Set(leaves.map(({ path }) => path)))];
}

/**
 * Reads what the configuration names; the store is not started yet.
 * @throws KerbError BadDbc | BadSignalMapping
 */
export async function makeSignals(
  obu: string,
  config: SignalsConfig,
  routers: ReadonlyMap<string, CanRouter>,
): Promise<SignalStore> {
  const leaves = await loadLeaves(obu, config);
  const feeds = await Promise.all(
    [...config.dbc].map(async ([bus, files]) => ({
      router: routers.get(bus)!,
      dbcs: await Promise.all(files.map(loadDbc)),
    })),
  );
  const defaults = new Map((await Promise.all(config.defaults.map(loadDefaults))).flat());
  const ranking = [...config.sources].map(([path, names]) => ({ matches: pathMatcher(path), names }));
  const rankingOf = (path: string) => ranking.find(({ matches }) => matches(path))?.names ?? [];
  const dbcs = feeds.flatMap((feed) => feed.dbcs);
  return new SignalStore(feeds, leaves, {
    rankingOf,
    defaults: new Map([...defaults].map(([signal, { value }]) => [signal, value])),
    warnings: [...dbcs.flatMap(warningsOf), ...checkDefaults(defaults, dbcs)],
  });
}

/** Joins gpsd to the signals, not started yet; undefined when the configuration names none. */
export function makeGpsd({ gpsd }: SignalsConfig, signals: SignalStore, log: Logger): GpsdSource | undefined {
  if (gpsd === undefined) return undefined;
  const source = new GpsdSource({ config: gpsd, signals, log: log.child({ part: 'gpsd' }) });
  signals.joinGpsd(source);
  return source;
}

/** The warnings of a database, and how many more there are than it keeps. */
function warningsOf({ file, warnings, warningCount }: Dbc): string[] {
  const more = warningCount - warnings.length;
  return more === 0 ? [...warnings] : [...warnings, `${file}: and ${more} more; kerb dbc check ${file} counts them`];
}
