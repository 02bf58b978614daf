/** Debian's stock kernel as tools/fetch-debian-kernel.sh leaves it, and the RAM disk that a machine starts from. */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';

const KERNEL = join(import.meta.dirname, '../../../build/kernel');
const BUSYBOX = ['/usr/bin/busybox', '/bin/busybox'].find((path) => existsSync(path)) ?? '/usr/bin/busybox';

const PACKED = join(KERNEL, 'vmlinuz');
const UNPACKED = join(KERNEL, 'vmlinux');
const ELF_MAGIC = '\x7fELF';

/**
 * The kernel to start: unpacked, which is kept, for an emulated processor takes three seconds to unpack it each time. The
 * packed one where this machine has no `xz`.
 */
export function kernelImage(): string {
  if (existsSync(UNPACKED)) return UNPACKED;
  const packed = readFileSync(PACKED);
  // Where it is, by the header of the boot protocol; its own length follows it, which `xz` would take for damage.
  const start = (packed.readUInt8(0x1f1) + 1) * 512 + packed.readUInt32LE(0x248);
  const input = packed.subarray(start, start + packed.readUInt32LE(0x24c) - 4);
  const { stdout } = spawnSync('xz', ['-dc'], { input, maxBuffer: 256 << 20 });
  if (stdout?.subarray(0, ELF_MAGIC.length).toString('latin1') !== ELF_MAGIC) return PACKED;
  const part = `${UNPACKED}.${process.pid}`;
  writeFileSync(part, stdout);
  renameSync(part, UNPACKED);
  return UNPACKED;
}

/** Whether the kernel has been fetched. */
export function hasKernelFiles(): boolean {
  return existsSync(join(KERNEL, 'complete'));
}

/** Such as `6.1.0-56-amd64`. */
export function kernelVersion(): string {
  return readFileSync(join(KERNEL, 'version'), 'utf8').trim();
}

/**
 * Copies modules and all that they depend on, unpacked, as `NAME.ko`.
 * @returns their names in the order of loading; without what is part of the kernel itself
 */
export function copyModules(names: readonly string[], folder: string): string[] {
  const files = new Map(
    readdirSync(join(KERNEL, 'modules'), { recursive: true, encoding: 'utf8' })
      .filter((path) => /\.ko(\.xz)?$/.test(path))
      .map((path) => [moduleName(path), join(KERNEL, 'modules', path)]),
  );
  mkdirSync(folder, { recursive: true });
  const order: string[] = [];
  const add = (name: string) => {
    if (order.includes(name)) return;
    const file = files.get(name);
    // Part of the kernel itself, as far as anybody can tell: else loading what needs it fails and says so.
    if (file === undefined) return;
    const target = join(folder, `${name}.ko`);
    if (file.endsWith('.xz')) writeFileSync(target, execFileSync(BUSYBOX, ['xzcat', file], { maxBuffer: 64 << 20 }));
    else copyFileSync(file, target);
    for (const needed of dependenciesOf(readFileSync(target, 'latin1'))) add(needed);
    order.push(name);
  };
  for (const name of names) add(moduleName(name));
  return order;
}

/** Modules write `-` and `_` for each other. */
function moduleName(path: string): string {
  return basename(path)
    .replace(/\.ko(\.xz)?$/, '')
    .replaceAll('-', '_');
}

/** What modprobe would load first: a list in the module's own description. */
function dependenciesOf(module: string): string[] {
  const [, list = ''] = /\0depends=([^\0]*)\0/.exec(module) ?? [];
  return list.split(',').filter(Boolean).map(moduleName);
}

/**
 * Makes the first file system of a machine: busybox, modules and a first program, `/init`.
 * @param init Shell commands for busybox's shell, which is at /bin/busybox; modules are /mod/NAME.ko.
 */
export function makeInitialRamDisk(
  folder: string,
  modules: readonly string[],
  init: (order: string[]) => string,
): string {
  const tree = join(folder, 'initial');
  for (const name of ['bin', 'proc', 'sys', 'dev', 'mnt', 'keep']) mkdirSync(join(tree, name), { recursive: true });
  copyFileSync(BUSYBOX, join(tree, 'bin', 'busybox'));
  const order = copyModules(modules, join(tree, 'mod'));
  writeFileSync(join(tree, 'init'), init(order));
  chmodSync(join(tree, 'init'), 0o755);
  const archive = join(folder, 'initial.cpio');
  execFileSync('sh', ['-c', `find . | '${BUSYBOX}' cpio -o -H newc >'${archive}' 2>/dev/null`], { cwd: tree });
  return archive;
}
