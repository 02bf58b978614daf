import { access, readdir, readFile, readlink, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isErrno } from '../../../shared/base/errors.ts';
import type { Setting } from './group-limits.ts';
import { isLeftover, type Owner } from './group-name.ts';

/** A killed process stays in its group for a moment: so often, so many milliseconds apart, its end is waited for. */
const TRIES = 80;
const PAUSE_MS = 25;

/** @throws errno errors; the path is in their sentence */
export async function write(folder: string, [file, value]: Setting): Promise<void> {
  await writeFile(join(folder, file), value);
}

/** Words of a file of a group; none when it is not there. */
export async function words(folder: string, file: string): Promise<string[]> {
  const text = await readFile(join(folder, file), 'utf8').catch(() => '');
  return text.split(/\s+/).filter((word) => word !== '');
}

export async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/** Names of the groups in a group; none when it is not there. */
export async function subgroups(folder: string): Promise<string[]> {
  const all = await readdir(folder, { withFileTypes: true }).catch(() => []);
  return all.filter((one) => one.isDirectory()).map(({ name }) => name);
}

/** Ends what is left in a group, but this process itself. @returns whether it is empty now */
export async function emptyGroup(folder: string): Promise<boolean> {
  for (let i = 0; i < TRIES; i++) {
    const pids = await words(folder, 'cgroup.procs');
    if (pids.length === 0) return true;
    for (const pid of pids.map(Number)) if (pid > 1 && pid !== process.pid) killNow(pid);
    await sleep(PAUSE_MS);
  }
  return false;
}

/**
 * Ends all that is in a group and removes it, with the groups in it. A group that is not there is removed.
 * @returns false when something in it cannot be ended or removed
 */
export async function removeGroup(folder: string): Promise<boolean> {
  for (const name of await subgroups(folder)) await removeGroup(join(folder, name));
  await emptyGroup(folder);
  for (let i = 0; ; i++) {
    try {
      await rmdir(folder);
      return true;
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return true;
      if (!isErrno(error, 'EBUSY') || i === TRIES) return false;
      await sleep(PAUSE_MS);
    }
  }
}

function killNow(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended, or is another user's: then the group cannot be removed.
  }
}

/** @throws errno errors where /proc is not there */
export async function ownOwner(): Promise<Owner> {
  const link = await readlink('/proc/self/ns/pid');
  const startTime = await startTimeOf(process.pid);
  return { pid: process.pid, startTime: startTime ?? '0', namespace: /\d+/.exec(link)?.[0] ?? '0' };
}

async function startTimeOf(pid: number): Promise<string | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => '');
  // Field 22; the name of the program, in brackets, may hold anything (proc(5)).
  return text.slice(text.lastIndexOf(')') + 2).split(' ')[19];
}

/** Removes groups of brokers that have ended, with what may still run in them. @returns their paths */
export async function removeLeftovers(parent: string, self: Owner): Promise<string[]> {
  const removed: string[] = [];
  for (const name of await subgroups(parent)) {
    const pid = Number(name.split('-')[3]);
    const startTime = Number.isInteger(pid) ? await startTimeOf(pid) : undefined;
    const folder = join(parent, name);
    if (isLeftover(name, self, () => startTime) && (await removeGroup(folder))) removed.push(folder);
  }
  return removed;
}
