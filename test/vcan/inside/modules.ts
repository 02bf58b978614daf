/** Modules of the kernel that the test has brought along; where there are none, it is the machine's own and has all. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

const MODULES = process.env.KERB_TEST_MODULES ?? '';

export const canLackModules = MODULES !== '';

export function loadModule(name: string): void {
  execFileSync('busybox', ['insmod', join(MODULES, `${name}.ko`)]);
}

export function hasModule(name: string): boolean {
  return existsSync(`/sys/module/${name}`);
}

/** Loads those that are not there yet. */
export function needModules(...names: string[]): void {
  if (!canLackModules) return;
  for (const name of names) if (!hasModule(name)) loadModule(name);
}
