import { existsSync } from 'node:fs';
import { join } from 'node:path';

/** Where `make -C broker/unikernel tests` (part of `npm test`'s set-up) puts what these tests run. */
const build = join(import.meta.dirname, '../../build/unikernel');

/** What was built for another machine than this one lies beside that. */
export type Machine = '' | '-aarch64';

export function built(path: string, machine: Machine = ''): string {
  const file = join(`${build}${machine}`, path);
  if (!existsSync(file)) throw new Error(`${file} is missing: run make -C broker/unikernel tests (npm test does)`);
  return file;
}

export const guestImage = (name: string, machine: Machine = ''): string => built(`guests/${name}.elf`, machine);
export const taskImage = (name: string, machine: Machine = ''): string => built(`tasks/${name}.elf`, machine);
