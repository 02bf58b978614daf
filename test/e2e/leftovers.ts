import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

/**
 * What a run with this state folder left on the machine: processes whose command line or environment names it, mounts
 * below it, sockets in it. Empty lists mean a clean stop. The process that looks is left out.
 */
export function leftovers(state: string): { processes: string[]; mounts: string[]; sockets: string[] } {
  return { processes: processesOf(state), mounts: mountsBelow(state), sockets: socketsIn(state) };
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
    for (const name of readdirSync(dir)) {
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
