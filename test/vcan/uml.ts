import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

const UML = '/usr/bin/linux.uml';

export interface UmlOptions {
  /**
   * A folder of this test's own. The machine's root is the host's, writable: whatever the script writes elsewhere, it
   * writes on the host, except in `/tmp` and `/run`, which are empty inside but for `cwd` and this folder.
   */
  readonly folder: string;
  /** Shell commands, run as root inside, in `cwd`, with `set -e`. */
  readonly script: string;
  readonly cwd: string;
  /** Kernel modules to load, in this order. */
  readonly modules?: readonly string[];
  /** Such as `1024M`. */
  readonly memory?: string;
  /** The machine is killed then. */
  readonly timeoutMs: number;
}

export interface UmlResult {
  /** Everything that the console showed. */
  readonly console: string;
  /** Exit status of the script; undefined when it was not reached. */
  readonly status: number | undefined;
  readonly timedOut: boolean;
}

/** What has to be installed before `bootUml` works, as a sentence; undefined when all is there. */
export function umlMissing(): string | undefined {
  const missing = [
    { path: UML, debian: 'user-mode-linux' },
    { path: '/usr/bin/busybox', debian: 'busybox-static' },
    { path: '/usr/sbin/ip', debian: 'iproute2' },
    { path: '/usr/bin/candump', debian: 'can-utils' },
  ].filter(({ path }) => !existsSync(path) && !existsSync(path.replace('/usr/', '/')));
  if (missing.length === 0) return undefined;
  return `User-Mode Linux cannot be booted: install it with: apt-get install ${missing.map(({ debian }) => debian).join(' ')}`;
}

/**
 * Boots a Linux kernel as a process of this user (User-Mode Linux) on the host's file system, runs the script as its
 * only job, and powers it off. It sees no network and no device of the host.
 */
export async function bootUml(options: UmlOptions): Promise<UmlResult> {
  const missing = umlMissing();
  if (missing !== undefined) throw new Error(missing);
  const { folder, memory = '1024M', timeoutMs } = options;
  await mkdir(folder, { recursive: true });
  const init = join(folder, 'init.sh');
  const script = join(folder, 'script.sh');
  await writeFile(script, `set -e\ncd '${options.cwd}'\n${options.script}\n`);
  await writeFile(init, initScript(script, options.modules ?? [], [options.cwd, folder]), { mode: 0o755 });

  const child = spawn(
    UML,
    [
      'rootfstype=hostfs',
      'root=/dev/root',
      'rootflags=/',
      'rw',
      `init=${init}`,
      `mem=${memory}`,
      'con=null',
      'con0=fd:0,fd:1',
      'quiet',
      `uml_dir=${folder}/`,
      'umid=uml',
    ],
    // A group of its own: UML runs its processes as processes of the host, and all of them have to go.
    { stdio: ['ignore', 'pipe', 'pipe'], detached: true },
  );
  let console = '';
  const collect = (chunk: Buffer) => {
    // Megabytes of kernel messages help nobody.
    if (console.length < 1_000_000) console += chunk.toString('latin1');
  };
  child.stdout.on('data', collect);
  child.stderr.on('data', collect);
  let timedOut = false;
  const kill = () => {
    try {
      process.kill(-child.pid!, 'SIGKILL');
    } catch {
      // The group is gone already.
    }
  };
  const timer = setTimeout(() => {
    timedOut = true;
    kill();
  }, timeoutMs);
  await new Promise<void>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', () => resolve());
  });
  clearTimeout(timer);
  kill();
  const status = /^UML-SCRIPT-STATUS (\d+)/m.exec(console)?.[1];
  return { console, status: status === undefined ? undefined : Number(status), timedOut };
}

/**
 * The first process. Not busybox's shell: it starts its own commands through /proc/self/exe, which on a host's root is,
 * before /proc is mounted, the kernel that we run in.
 */
function initScript(script: string, modules: readonly string[], needed: readonly string[]): string {
  // A checkout in /tmp would be hidden by the empty one; what is needed of the host is mounted into it again.
  const hidden = needed.filter((path) => /^\/(tmp|run)\//.test(path));
  return `#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
${hidden.map((path) => `mkdir -p '${path}' && mount -t hostfs none '${path}' -o '${path}'\n`).join('')}ip link set lo up
for module in ${modules.join(' ')}; do
  file=$(find "/usr/lib/uml/modules/$(uname -r)" -name "$module.ko")
  busybox insmod "$file" || echo "kernel module $module was not loaded"
done
sh '${script}'
echo "UML-SCRIPT-STATUS $?"
busybox poweroff -f
`;
}
