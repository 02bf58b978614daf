import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { findEngine } from '../../obu/engine/find-engine.ts';
import { placesOf } from '../../obu/engine/places.ts';
import { PrivateEngine } from '../../obu/engine/private-engine.ts';
import { silentLog } from '../../shared/log.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** DOCKER_HOST of the engine that test files share; empty where the machine has one of its own, or can have none. */
    sharedEngine: string;
  }
}

/** Starts one engine for all files that do not kill theirs: each of its own costs seconds to start, fill and stop. */
export default async function setup(project: TestProject): Promise<(() => Promise<void>) | undefined> {
  project.provide('sharedEngine', '');
  const own = await findEngine(silentLog()).catch(() => undefined);
  if (own !== undefined || process.getuid?.() !== 0) return undefined;
  const state = await mkdtemp(join(tmpdir(), 'kerb-engine-'));
  const places = placesOf(state);
  await mkdir(places.runtime, { recursive: true, mode: 0o700 });
  const shared = new PrivateEngine(places, silentLog());
  const stop = async () => {
    await shared.stop();
    await rm(places.runtime, { recursive: true, force: true });
    await rm(state, { recursive: true, force: true });
  };
  try {
    project.provide('sharedEngine', (await shared.start()).host);
  } catch {
    // Who needs an engine says so, better than this could.
    await stop();
    return undefined;
  }
  return stop;
}
