import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { type StateLayout, stateLayout } from '../../../obu/config/state-layout.ts';
import { findEngine } from '../../../obu/engine/find-engine.ts';
import { PrivateEngine } from '../../../obu/engine/private-engine.ts';
import { silentLog } from '../../../shared/base/log.ts';

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
  const places = stateLayout(state);
  await mkdir(places.runtime, { recursive: true, mode: 0o700 });
  const shared = new PrivateEngine(places, silentLog());
  let release = () => {};
  const stop = async () => {
    await shared.stop();
    release();
    await rm(places.runtime, { recursive: true, force: true });
    await rm(state, { recursive: true, force: true });
  };
  try {
    project.provide('sharedEngine', (await shared.start()).host);
    release = endWithUs(places);
  } catch {
    // Who needs an engine says so, better than this could.
    await stop();
    return undefined;
  }
  return stop;
}

/**
 * Ends the engine when this process is gone, however that came: a shell waits for the end of a pipe that only we hold, and
 * asks the engine to stop if it is still the one with our folder in its command.
 * @returns to be called once the engine has been stopped
 */
function endWithUs({ engine, runtime }: StateLayout): () => void {
  const pid = readFileSync(engine.pidFile, 'utf8').trim();
  const script = 'cat >/dev/null; grep -qF "$2" "/proc/$1/cmdline" && kill -TERM "$1"';
  const guard = spawn('sh', ['-c', script, 'sh', pid, runtime], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  });
  guard.unref();
  return () => guard.stdin.end();
}
