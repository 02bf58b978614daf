import { existsSync } from 'node:fs';
import { join } from 'node:path';

/** Where `make -C broker/unikernel tests` (part of `npm test`'s set-up) puts what these tests run. */
const build = join(import.meta.dirname, '../../build/unikernel');

export function built(path: string): string {
  const file = join(build, path);
  if (!existsSync(file)) throw new Error(`${file} is missing: run make -C broker/unikernel tests (npm test does)`);
  return file;
}

export const guestImage = (name: string): string => built(`guests/${name}.elf`);
export const taskImage = (name: string): string => built(`tasks/${name}.elf`);
