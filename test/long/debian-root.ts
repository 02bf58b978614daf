import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { runWithLog } from './run-with-log.ts';

const top = join(import.meta.dirname, '../..');
const CERTIFICATES = 'usr/local/share/ca-certificates';

/** Why no Debian root can be made here; undefined when one can. */
export function rootTrouble(): string | undefined {
  if (process.getuid?.() !== 0) return 'only root can make and mount the root of another Debian';
  for (const program of ['debootstrap', 'unshare', 'git']) {
    const { status } = spawnSync('sh', ['-c', `command -v ${program}`]);
    if (status !== 0) return `${program} is not installed: apt-get install debootstrap util-linux git`;
  }
  return mirror() === undefined ? 'apt here names no mirror of Debian' : undefined;
}

/** Where apt of this machine has Debian from. */
export function mirror(): string | undefined {
  const format = ['indextargets', '--format', '$(SITE) $(REPO_URI) $(ORIGIN)', 'Created-By: Packages'];
  const { stdout } = spawnSync('apt-get', format, { encoding: 'utf8' });
  const lines = (stdout ?? '').split('\n').map((line) => line.split(' '));
  return lines.find(([, , ...origin]) => origin.join(' ') === 'Debian')?.[1];
}

/**
 * A Debian of another release in a folder, as its installer leaves it, and a copy of this working tree in it. It is kept
 * and used again; the copy is made anew.
 */
export class DebianRoot {
  readonly folder: string;
  readonly #suite: string;
  readonly #log: string;

  /** @param suite - Debian's name of the release: bookworm, trixie. */
  constructor(suite: string) {
    const roots = process.env.KERB_LONG_ROOTS ?? join(top, 'build/long');
    mkdirSync(roots, { recursive: true });
    this.#suite = suite;
    this.folder = join(roots, suite);
    this.#log = join(roots, `${suite}.log`);
    writeFileSync(this.#log, '');
  }

  /** @throws Error with the end of the output when a step fails. */
  async prepare(): Promise<void> {
    const stamp = join(this.folder, '.kerbside-prepared');
    if (!existsSync(stamp)) {
      rmSync(this.folder, { recursive: true, force: true });
      const include = '--include=ca-certificates,procps,iproute2';
      await this.#do('debootstrap', ['--variant=minbase', include, this.#suite, this.folder, mirror()!]);
      const here = `/${CERTIFICATES}`;
      if (existsSync(here)) await cp(here, join(this.folder, CERTIFICATES), { recursive: true });
      await this.run('update-ca-certificates && apt-get install -y --no-install-recommends nodejs npm');
      writeFileSync(stamp, '');
    }
    await cp('/etc/resolv.conf', join(this.folder, 'etc/resolv.conf'));
    const copy = join(this.folder, 'root/kerbside');
    rmSync(copy, { recursive: true, force: true });
    mkdirSync(copy, { recursive: true });
    await this.#do('sh', [
      '-c',
      'git ls-files -z --cached --others --exclude-standard | xargs -0 sh -c \'for f; do [ ! -e "$f" ] || printf "%s\\0" "$f"; done\' sh | tar -c --null -T - | tar -x -C "$0"',
      copy,
    ]);
  }

  /** Runs a command of the shell in the copy. @returns what it printed; @throws Error when it fails */
  run(command: string): Promise<string> {
    const registry = spawnSync('npm', ['config', 'get', 'registry'], { encoding: 'utf8' }).stdout.trim();
    const certificates = '/etc/ssl/certs/ca-certificates.crt';
    // This machine's own certificates and registry, where it has some; each Node is told in its own way.
    const environment = `export npm_config_registry=${registry} npm_config_cafile=${certificates} NODE_EXTRA_CA_CERTS=${certificates} DEBIAN_FRONTEND=noninteractive`;
    const script = `${environment}; cd /root/kerbside 2>/dev/null || cd /; ${command}`;
    return this.#do(join(import.meta.dirname, 'in-root.sh'), [this.folder, 'sh', '-ec', script]);
  }

  #do(program: string, args: readonly string[]): Promise<string> {
    return runWithLog(program, args, { folder: top, log: this.#log });
  }

  /** The release that this root is of, as it says itself. */
  get version(): string {
    return readFileSync(join(this.folder, 'etc/debian_version'), 'utf8').trim();
  }

  /** What is left mounted below the folder on this machine: nothing, since all mounts are in a namespace. */
  get mounts(): string[] {
    return readFileSync('/proc/self/mounts', 'utf8')
      .split('\n')
      .filter((line) => line.includes(this.folder));
  }

  /** Whether a file of the copy is there. */
  has(path: string): boolean {
    const [folder, name] = [path.slice(0, path.lastIndexOf('/')), path.slice(path.lastIndexOf('/') + 1)];
    const whole = join(this.folder, 'root/kerbside', folder);
    return existsSync(whole) && readdirSync(whole).includes(name);
  }
}
