/**
 * A Linux kernel with CAN for tests, on the files of this machine: the kernel's own where it has vcan, vxcan and can-gw
 * (in namespaces of its own, so that nothing of the machine is touched), else Debian's stock kernel in QEMU, by software
 * emulation, which needs no KVM and works on every x86-64 processor.
 *
 * It is started once and runs one script after the other. It ends with this process, however that ends.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { copyModules, hasKernelFiles, kernelImage, kernelVersion, makeInitialRamDisk } from './kernel-files.ts';

const ROOT = join(import.meta.dirname, '../../..');
const BOOT_TIMEOUT_MS = 400_000;
const FOLDER = 'machine-';
const PROGRESS_MS = 10_000;
const MAX_OUTPUT = 1_000_000;
/**
 * no_timer_check: on a busy machine the emulated timer is late, and the kernel would take it for broken and panic ("IO-APIC +
 * timer doesn't work"). From nokaslr on: leaves out what takes time at the start, or with each network namespace, and is no
 * part of a test.
 */
const COMMAND_LINE =
  'console=ttyS0 quiet panic=-1 mitigations=off no_timer_check ' +
  'nokaslr cryptomgr.notests audit=0 apparmor=0 nowatchdog rcupdate.rcu_expedited=1';
/** Read-only: a test that goes wrong in there cannot change this machine. `loose` caches what nobody changes. */
const HOST_ROOT = 'trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro';
/** The machine's and ours: what one writes the other has to see. */
const WORK_FOLDER = 'trans=virtio,version=9p2000.L,msize=512000,cache=none';

export interface KernelMachineOptions {
  /** Whose machine it is, for lines about its progress. */
  readonly name: string;
  /** Loaded at boot; of no meaning where the machine's own kernel is used. */
  readonly modules: readonly string[];
  /** Unpacked, for scripts to load with `insmod "$KERB_TEST_MODULES/NAME.ko"`. */
  readonly later: readonly string[];
  readonly memoryMib: number;
}

export interface ScriptResult {
  readonly status: number | undefined;
  /** What the script printed, the kernel's messages among it; its last million characters. */
  readonly output: string;
}

/** Why no machine can be started here, in one line; undefined when one can. */
export function kernelMachineMissing(): string | undefined {
  if (process.getuid?.() !== 0)
    return 'it needs root, for a network namespace or for QEMU on the files of this machine';
  if (ownKernelHasCan()) return undefined;
  const lacking = 'this kernel has no vcan, vxcan and can-gw';
  if (process.arch !== 'x64') return `${lacking}, and Debian's kernel in QEMU is there for x86-64 only`;
  const packages = [
    { program: 'qemu-system-x86_64', debian: 'qemu-system-x86' },
    { program: 'busybox', debian: 'busybox-static' },
    { program: 'ip', debian: 'iproute2' },
    { program: 'candump', debian: 'can-utils' },
  ].filter(
    ({ program }) => !['/usr/bin', '/usr/sbin', '/bin', '/sbin'].some((folder) => existsSync(join(folder, program))),
  );
  if (packages.length > 0) {
    return `${lacking}; for Debian's in QEMU: apt-get install ${packages.map(({ debian }) => debian).join(' ')}`;
  }
  if (!hasKernelFiles()) return `${lacking}, and Debian's is not in build/kernel: run tools/fetch-debian-kernel.sh`;
  return undefined;
}

let own: boolean | undefined;

/** Tried in a network namespace that is gone afterwards. KERB_TEST_KERNEL=qemu says not to look. */
function ownKernelHasCan(): boolean {
  if (process.env.KERB_TEST_KERNEL === 'qemu') return false;
  const tries = 'ip link add kbv type vcan && ip link add kbx type vxcan peer name kby && cangw -A -s kbv -d kbx -e';
  own ??= spawnSync('unshare', ['--net', 'sh', '-c', tries], { stdio: 'ignore', timeout: 20_000 }).status === 0;
  return own;
}

export class KernelMachine {
  /** `qemu`, or `own` for this machine's own kernel, where modules are loaded already. */
  readonly kind: 'own' | 'qemu';
  /** For scripts to leave files in that outlive the machine's own; removed by `stop`. */
  readonly folder: string;
  readonly #name: string;
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;
  #output = '';
  #over = false;
  #wake = () => {};
  #scripts = 0;
  #turn: Promise<unknown> = Promise.resolve();
  readonly #kill = () => void this.#child.kill('SIGKILL');

  private constructor(kind: 'own' | 'qemu', folder: string, name: string, command: readonly string[]) {
    this.kind = kind;
    this.folder = folder;
    this.#name = name;
    // The kernel ends it when this process ends, be it by SIGKILL.
    this.#child = spawn('setpriv', ['--pdeathsig', 'KILL', ...command], { stdio: ['pipe', 'pipe', 'pipe'] });
    const collect = (chunk: Buffer) => {
      this.#output = (this.#output + chunk.toString('latin1')).slice(-MAX_OUTPUT);
      this.#wake();
    };
    this.#child.stdout!.on('data', collect);
    this.#child.stderr!.on('data', collect);
    this.#child.stdin!.on('error', () => {});
    this.#ended = new Promise((resolve) => {
      const end = () => {
        this.#over = true;
        this.#wake();
        resolve();
      };
      this.#child.once('error', (error) => {
        this.#output += error.message;
        end();
      });
      this.#child.once('close', end);
    });
    process.once('exit', this.#kill);
    // A worker whose vitest was killed is told so, and would otherwise wait for the machine.
    process.once('disconnect', this.#kill);
  }

  /** @throws Error when it does not come up, with what it printed last */
  static async boot(options: KernelMachineOptions): Promise<KernelMachine> {
    const missing = kernelMachineMissing();
    if (missing !== undefined) throw new Error(missing);
    await mkdir(join(ROOT, 'build'), { recursive: true });
    await removeLeftovers();
    const folder = await mkdtemp(join(ROOT, 'build', `${FOLDER}${process.pid}-`));
    const kind = ownKernelHasCan() ? 'own' : 'qemu';
    const what = kind === 'own' ? "this machine's kernel, in namespaces" : `Debian's ${kernelVersion()} in QEMU`;
    say(options.name, `starting a kernel with CAN (${what})`);
    const command = kind === 'own' ? await ownCommand(folder) : await qemuCommand(folder, options);
    const machine = new KernelMachine(kind, folder, options.name, command);
    const started = performance.now();
    try {
      await machine.#until('it is up', /^KERBSIDE-READY\r?$/m, BOOT_TIMEOUT_MS);
    } catch (error) {
      await machine.stop();
      throw error;
    }
    say(options.name, `the kernel is up after ${((performance.now() - started) / 1000).toFixed(1)} s`);
    return machine;
  }

  /**
   * Runs a shell script as root in the root of the checkout, with `set -e`. One runs at a time.
   * @throws Error when it takes longer than that or the machine ends, with what was printed last
   */
  run(what: string, script: string, timeoutMs: number): Promise<ScriptResult> {
    const result = this.#turn.then(() => this.#runNow(what, script, timeoutMs));
    this.#turn = result.catch(() => undefined);
    return result;
  }

  async #runNow(what: string, script: string, timeoutMs: number): Promise<ScriptResult> {
    const number = ++this.#scripts;
    await writeFile(join(this.folder, `script-${number}.sh`), `set -e\ncd '${ROOT}'\n${script}\n`);
    this.#output = '';
    this.#child.stdin!.write(`${number}\n`);
    if (this.#over) throw new Error(`${what}: the machine has ended`);
    const done = new RegExp(`^KERBSIDE-DONE ${number} (\\d+)\\r?$`, 'm');
    const [, status] = await this.#until(what, done, timeoutMs).catch((error: unknown) => {
      // It may hang in there for ever; who comes next is to be told at once.
      this.#kill();
      throw error;
    });
    return { status: Number(status), output: this.#output };
  }

  /** Ends it; nothing is left of it. */
  async stop(): Promise<void> {
    this.#kill();
    await this.#ended;
    process.off('exit', this.#kill);
    process.off('disconnect', this.#kill);
    await rm(this.folder, { recursive: true, force: true });
  }

  async #until(what: string, line: RegExp, timeoutMs: number): Promise<RegExpExecArray> {
    const started = performance.now();
    const progress = setInterval(() => {
      const last = this.#output.trimEnd().split('\n').at(-1)!.trim().slice(0, 100);
      say(
        this.#name,
        `${what}: ${Math.round((performance.now() - started) / 1000)} s${last && `; last line: ${last}`}`,
      );
    }, PROGRESS_MS);
    try {
      for (;;) {
        const found = line.exec(this.#output);
        if (found !== null) return found;
        const leftMs = started + timeoutMs - performance.now();
        if (this.#over || leftMs <= 0) {
          const why = this.#over ? 'the machine ended' : `it took longer than ${timeoutMs / 1000} s`;
          throw new Error(`${what}: ${why}\n${this.#output.slice(-6000)}`);
        }
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, leftMs);
          this.#wake = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      }
    } finally {
      clearInterval(progress);
      this.#wake = () => {};
    }
  }
}

/** Folders of machines whose test was killed. */
async function removeLeftovers(): Promise<void> {
  for (const name of await readdir(join(ROOT, 'build'))) {
    const [, pid] = /^machine-(\d+)-/.exec(name) ?? [];
    if (pid === undefined || existsSync(`/proc/${pid}`)) continue;
    await rm(join(ROOT, 'build', name), { recursive: true, force: true });
  }
}

function say(name: string, text: string): void {
  console.log(`${name}: ${text}`);
}

async function ownCommand(folder: string): Promise<string[]> {
  const init = join(folder, 'init.sh');
  await writeFile(init, `mount -t sysfs sysfs /sys\n${stageScript(folder)}`);
  const namespaces = ['--mount', '--net', '--pid', '--ipc', '--uts', '--fork', '--kill-child', '--mount-proc'];
  return ['unshare', ...namespaces, 'sh', init];
}

async function qemuCommand(folder: string, options: KernelMachineOptions): Promise<string[]> {
  copyModules(options.later, join(folder, 'modules'));
  const stage = join(folder, 'stage.sh');
  await writeFile(stage, stageScript(folder, 'exec </dev/ttyS0 >/dev/ttyS0 2>&1\nstty raw -echo\n', 'host'));
  const ramDisk = makeInitialRamDisk(folder, ['virtio_pci', '9pnet_virtio', '9p', ...options.modules], (order) =>
    initScript(order, stage),
  );
  return [
    'qemu-system-x86_64',
    // Several processors, or a newer one, and Node dies now and then under emulation.
    ...['-accel', 'tcg', '-cpu', 'Nehalem', '-smp', '1', '-m', String(options.memoryMib)],
    ...['-display', 'none', '-serial', 'stdio', '-monitor', 'none', '-no-reboot', '-nodefaults'],
    ...['-kernel', kernelImage(), '-initrd', ramDisk, '-append', COMMAND_LINE],
    ...['-virtfs', 'local,path=/,mount_tag=host,security_model=passthrough,multidevs=remap,readonly=on'],
    ...['-virtfs', `local,path=${folder},mount_tag=work,security_model=passthrough,multidevs=remap`],
  ];
}

/** The first program in QEMU: modules, the root of the host, and on to `stage`. */
function initScript(modules: readonly string[], stage: string): string {
  return `#!/bin/busybox sh
B=/bin/busybox
$B mount -t proc proc /proc
$B mount -t sysfs sysfs /sys
$B mount -t devtmpfs dev /dev
for module in ${modules.join(' ')}; do $B insmod /mod/$module.ko || echo "kernel module $module was not loaded"; done
$B mount -t 9p -o ${HOST_ROOT} host /mnt
for name in proc sys dev; do $B mount --move /$name /mnt/$name; done
$B mount -t tmpfs tmpfs /mnt/run
$B mkdir /mnt/run/checkout /mnt/run/work
$B mount --bind /mnt${ROOT} /mnt/run/checkout
$B mount -t 9p -o ${WORK_FOLDER} work /mnt/run/work
exec $B switch_root /mnt /bin/sh /run/work/${stage.split('/').at(-1)}
`;
}

/**
 * Makes the machine ready and then runs the scripts whose numbers come in.
 * @param hidden Where what is needed of the host has been kept: a checkout in /tmp would be hidden by the empty one.
 */
function stageScript(folder: string, terminal = '', hidden?: 'host'): string {
  const checkout = /^\/tmp\//.test(ROOT) ? `mkdir -p '${ROOT}'; mount --move /run/checkout '${ROOT}'\n` : '';
  const back = hidden === undefined ? checkout : `${checkout}mount --bind /run/work '${folder}'\n`;
  const keep =
    hidden === undefined
      ? `mount -t tmpfs tmpfs /run\nmkdir /run/checkout\nmount --bind '${ROOT}' /run/checkout\n`
      : '';
  return `${terminal}export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LC_ALL=C
export NODE_COMPILE_CACHE='${ROOT}/build/compile-cache'
export KERB_TEST_MODULES='${hidden === undefined ? '' : join(folder, 'modules')}'
${keep}mount -t tmpfs tmpfs /tmp
${back}mkdir -p /dev/pts /dev/shm 2>/dev/null
mountpoint -q /dev/pts || mount -t devpts devpts /dev/pts
mountpoint -q /dev/shm || mount -t tmpfs tmpfs /dev/shm
mountpoint -q /sys/fs/cgroup || mount -t cgroup2 none /sys/fs/cgroup
ip link set lo up
echo KERBSIDE-READY
while read -r number; do
  sh '${folder}'/script-"$number".sh </dev/null
  printf '\\nKERBSIDE-DONE %s %s\\n' "$number" "$?"
done
`;
}
