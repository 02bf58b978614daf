/** The signals of an OBU, out of its configuration. */
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { ErrorCode, KerbError, messageOf } from '../../shared/errors.ts';
import type { CanRouter } from '../can/router.ts';
import { loadDbc } from './dbc-parser.ts';
import { pathMatcher } from './expand-paths.ts';
import { ownLeaves } from './own-state.ts';
import type { SignalDatum } from './signal.ts';
import { SignalStore } from './signal-store.ts';
import { loadVssMapping, loadVssTree, type VssLeaf } from './vss-mapping.ts';

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
}

/** Every leaf of an OBU. @throws KerbError BadSignalMapping */
export async function loadLeaves(obu: string, config: SignalsConfig): Promise<VssLeaf[]> {
  const mapped = await Promise.all(config.mapping.map(loadVssMapping));
  const trees = await Promise.all(config.vss.map(loadVssTree));
  return [...mapped, ...trees, ownLeaves(obu)].flat();
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
  return new SignalStore(feeds, leaves, { rankingOf, defaults });
}

/** @throws KerbError BadSignalMapping */
export async function loadDefaults(file: string): Promise<[string, SignalDatum][]> {
  try {
    const schema = z.record(z.string(), z.union([z.number(), z.string(), z.boolean()]));
    const parsed = schema.safeParse(JSON.parse(await readFile(file, 'utf8')));
    if (parsed.success) return Object.entries(parsed.data);
    const [issue] = parsed.error.issues;
    throw new Error(`${issue!.path.join('.') || 'it'} has to be a value: { "SIGNAL": 0 }`);
  } catch (error) {
    throw new KerbError(ErrorCode.BadSignalMapping, `${file}: ${messageOf(error)}`, { file });
  }
}
