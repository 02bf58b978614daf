/** The kernel's network interfaces: looked at in /sys, changed with the system's own tools. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import type { GatewayRule } from '../grants/interface-rules.ts';

export const NET = '/sys/class/net';
const TOOL_TIMEOUT_MS = 10_000;

export function readNet(name: string, key: 'ifalias' | 'ifindex' | 'mtu'): string {
  return readText(`${NET}/${name}/${key}`);
}

export function hasInterface(name: string): boolean {
  return readNet(name, 'ifindex') !== '';
}

/** Empty when there is no such file, which is an answer: interfaces and processes come and go. */
export function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    return '';
  }
}

/** Removes an interface, which may go by itself at any moment: that of a container goes with it. */
export async function removeInterface(name: string): Promise<void> {
  if (!hasInterface(name)) return;
  try {
    await ip('link', 'delete', name);
  } catch (error) {
    if (hasInterface(name)) throw error;
  }
}

export async function ip(...args: string[]): Promise<void> {
  await run('ip', args);
}

/** A rule as `cangw` takes it. */
export function argsOf({ from, to, fd, echo, cube }: GatewayRule): string[] {
  const filter = `${cube.id.toString(16)}:${cube.mask.toString(16)}`;
  return ['-s', from, '-d', to, ...(echo ? ['-e'] : []), ...(fd ? ['-X'] : []), '-f', filter];
}

/** The rules of can-gw with plain filters, as all of ours are. */
export async function listRules(): Promise<GatewayRule[]> {
  // Its exit status means nothing: it is what the kernel's last message happened to be.
  return parseRules(await run('cangw', ['-L'], { anyStatus: true }));
}

export function parseRules(list: string): GatewayRule[] {
  return list.split('\n').flatMap((line) => {
    const [command = ''] = line.split(' #');
    const match = /^cangw -A -s (\S+) -d (\S+)((?: -[a-zA-Z])*?)(?: -f ([0-9A-F]+):([0-9A-F]+))?$/.exec(command.trim());
    if (match === null) return [];
    const [, from, to, flags, id = '0', mask = '0'] = match;
    const cube = { id: Number.parseInt(id, 16), mask: Number.parseInt(mask, 16) };
    const has = (flag: string) => flags!.split(' ').includes(flag);
    return [{ from: from!, to: to!, fd: has('-X'), echo: has('-e'), cube }];
  });
}

/**
 * Runs a tool of the system, and gives its output.
 * @throws KerbError CanInterfaceUnavailable that says what is missing and what to run
 */
export function run(
  name: 'ip' | 'cangw',
  args: readonly string[],
  { anyStatus = false }: { anyStatus?: boolean } = {},
): Promise<string> {
  const env = { ...process.env, LC_ALL: 'C', PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin` };
  return new Promise((resolve, reject) => {
    execFile(name, args, { env, timeout: TOOL_TIMEOUT_MS }, (error, stdout, stderr) => {
      if (error === null || (anyStatus && typeof error.code === 'number')) resolve(stdout);
      else reject(unavailable(explain(name, args, error, stderr), error));
    });
  });
}

function explain(name: 'ip' | 'cangw', args: readonly string[], error: Error, stderr: string): string {
  if ('code' in error && error.code === 'ENOENT') {
    const debian = name === 'ip' ? 'iproute2' : 'can-utils';
    return `the program ${name} is not installed; on Debian: apt-get install ${debian}`;
  }
  if (/not permitted/.test(stderr)) {
    return 'this OBU may not change network interfaces; run it as root, or with the capability CAP_NET_ADMIN';
  }
  if (name === 'ip' && args.includes('vxcan') && /Unknown device type|not supported/.test(stderr)) {
    return 'the kernel has no vxcan; run: modprobe vxcan';
  }
  if (name === 'cangw' && /not supported/.test(stderr)) return 'the kernel has no can-gw; run: modprobe can-gw';
  return `${name} ${args.join(' ')}: ${stderr.split('\n')[0] || error.message}`;
}

export function unavailable(what: string, cause?: unknown): KerbError {
  return new KerbError(ErrorCode.CanInterfaceUnavailable, `no CAN interface in the container: ${what}`, {}, { cause });
}
