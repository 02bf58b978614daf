import type { RunningParts } from '../shared/base/running-parts.ts';
import { type ResultParts, startResults } from './results/start-results.ts';
import { startState } from './state/start-state.ts';
import { readStorageKeys } from './storage/storage-keys.ts';

/** Starts the keeping of results and of the state of sessions, both on the disk under the key for it. */
export async function startStorage(running: RunningParts, parts: Omit<ResultParts, 'keys'>) {
  const { config, log } = parts;
  const storage = readStorageKeys(config.storageKeyFile, config.stateDir);
  const { keys } = storage;
  if (keys.length === 0) log.info({ path: config.stateDir }, 'what is kept on the disk is not encrypted');
  const { results, receipts } = await startResults(running, { ...parts, keys });
  const state = await startState(running, { ...parts, keys });
  await storage.used();
  return { results, receipts, ...state };
}
