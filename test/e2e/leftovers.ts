import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { isErrno } from '../../shared/base/errors.ts';

/**
 * What a run with this state folder left on the machine: processes whose command line or environment names it (or the
 * OBU's runtime folder that belongs to it), mounts and sockets below either, containers of its OBU in an engine that
 * outlives it. Empty lists mean a clean stop. The process that looks is left out.
 */
export function leftovers(state: string): Record<'processes' | 'mounts' | 'sockets' | 'containers', string[]> {
  const folders = [state];
  const obu = join(state, 'obu');
  // As obu/config/state-layout.ts names it; written again here so that the test does not believe what it checks.
  const hash = existsSync(obu) ? createHash('sha256').update(realpathSync(obu)).digest('hex').slice(0, 12) : undefined;
  if (hash) folders.push(join('/run/kerbside', hash));
  return {
    processes: folders.flatMap(processesOf),
    mounts: folders.flatMap(mountsBelow),
    sockets: folders.filter((folder) => existsSync(folder)).flatMap(socketsIn),
    containers: hash && existsSync('/var/run/docker.sock') ? containersOf(hash) : [],
  };
}

/** Only an engine that was there before can still have any: a private one ends with the OBU. */
function containersOf(hash: string): string[] {
  const listed = execFileSync('docker', ['ps', '-a', '--no-trunc', '--format', '{{.Names}} {{.Labels}}'], {
    encoding: 'utf8',
  });
  return listed.split('\n').filter((line) => line.includes(hash));
}

function processesOf(state: string): string[] {
  const found: string[] = [];
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry) || Number(entry) === process.pid) continue;
    try {
      const command = readFileSync(`/proc/${entry}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
      const environment = readFileSync(`/proc/${entry}/environ`, 'utf8');
      if (command.includes(state) || environment.includes(state)) found.push(`${entry} ${command.slice(0, 200)}`);
    } catch {
      // Gone while we looked, or not ours to see.
    }
  }
  return found;
}

function mountsBelow(state: string): string[] {
  return readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .filter((line) => line.split(' ')[1]?.startsWith(state));
}

function socketsIn(folder: string): string[] {
  const found: string[] = [];
  const visit = (dir: string) => {
    for (const name of namesIn(dir)) {
      const path = join(dir, name);
      // The engine's image store has many thousands of files and no socket of ours.
      if (path.includes('/overlay2/')) continue;
      const stat = statSync(path, { throwIfNoEntry: false });
      if (stat?.isSocket()) found.push(path);
      else if (stat?.isDirectory()) visit(path);
    }
  };
  visit(folder);
  return found;
}

/** The names in a folder; none when it is removed at this moment. */
function namesIn(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return [];
    throw error;
  }
}
