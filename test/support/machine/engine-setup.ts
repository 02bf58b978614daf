import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { type StateLayout, stateLayout } from '../../../obu/config/state-layout.ts';
import type { Engine } from '../../../obu/engine/docker-client.ts';
import { findEngine } from '../../../obu/engine/find-engine.ts';
import { PrivateEngine } from '../../../obu/engine/private-engine.ts';
import { BASE_IMAGE, buildBaseImage } from '../../../obu/images/base-image.ts';
import { silentLog } from '../../../shared/base/log.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** DOCKER_HOST of the engine that test files share; empty where the machine has one of its own, or can have none. */
    sharedEngine: string;
  }
}

/** Kept from run to run, because the images that every run builds first take it ten seconds of a processor. */
const KEPT = join(import.meta.dirname, '../../../build/test-engine');
/** Images of another name are removed at the next start. */
const KEPT_IMAGES = [BASE_IMAGE, 'kerbside-test-busybox:1'];

/** Starts one engine for all files that do not kill theirs: each of its own costs seconds to start, fill and stop. */
export default async function setup(project: TestProject): Promise<(() => Promise<void>) | undefined> {
  project.provide('sharedEngine', '');
  const own = await findEngine(silentLog()).catch(() => undefined);
  if (own !== undefined || process.getuid?.() !== 0) return undefined;
  if (takeKept()) {
    const stop = await start(project, KEPT, () => rm(join(KEPT, 'pid'), { force: true }));
    if (stop !== undefined) return stop;
    // Whatever is wrong with it, it is only a shortcut.
    await rm(KEPT, { recursive: true, force: true });
  }
  const state = await mkdtemp(join(tmpdir(), 'kerb-engine-'));
  return start(project, state, () => rm(state, { recursive: true, force: true }));
}

/** @returns false where another run has it */
function takeKept(): boolean {
  mkdirSync(KEPT, { recursive: true });
  const file = join(KEPT, 'pid');
  for (let look = 0; look < 2; look++) {
    try {
      writeFileSync(file, String(process.pid), { flag: 'wx' });
      return true;
    } catch {
      if (existsSync(`/proc/${readFileSync(file, 'utf8')}/cmdline`)) return false;
      rmSync(file, { force: true }); // of a run that was killed
    }
  }
  return false;
}

/**
 * Starts the engine with its files in a folder.
 * @param giveBack called once it has been stopped
 * @returns what stops it; undefined where it does not start: who needs an engine says so, better than this could
 */
async function start(
  project: TestProject,
  state: string,
  giveBack: () => Promise<void>,
): Promise<(() => Promise<void>) | undefined> {
  const places = stateLayout(state);
  await mkdir(places.runtime, { recursive: true, mode: 0o700 });
  const shared = new PrivateEngine(places, silentLog());
  let release = () => {};
  const stop = async () => {
    await shared.stop();
    release();
    await rm(places.runtime, { recursive: true, force: true });
    await giveBack();
  };
  try {
    const engine = await shared.start();
    release = endWithUs(places);
    await clear(engine);
    // Not once for each file that needs it first.
    await buildBaseImage(engine, () => {});
    project.provide('sharedEngine', engine.host);
  } catch {
    await stop();
    return undefined;
  }
  return stop;
}

/** Removes what an earlier run left, but for the images that are to be kept; what cannot be removed is in nobody's way. */
async function clear({ calls }: Engine): Promise<void> {
  const old = (await calls.listContainers({ all: true })).map(({ Id }) => calls.getContainer(Id));
  const tags = (await calls.listImages()).flatMap(({ RepoTags }) => RepoTags ?? []);
  const images = tags.filter((tag) => !KEPT_IMAGES.includes(tag)).map((tag) => calls.getImage(tag));
  for (const one of [...old, ...images]) await one.remove({ force: true }).catch(() => {});
  await calls.pruneImages({ filters: { dangling: ['true'] } });
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
