import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ErrorCode } from '../../shared/base/errors.ts';
import { hostArchitecture } from '../../shared/task-package/architecture.ts';
import { buildTaskPackage } from '../../shared/task-package/writer.ts';
import { fakeImage } from '../../test/support/fake-image.ts';
import { PackageStore } from './package-store.ts';
import { PushedPackages } from './pushed-packages.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'kerb-store-'));
  mkdirSync(join(root, 'packages'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const own = hostArchitecture()!;
const images = {
  x86_64: (name: string) => fakeImage({ name, filler: 'x86' }),
  aarch64: (name: string) => fakeImage({ name, machine: 183, target: 2, filler: 'arm' }),
};
const other = own === 'x86_64' ? 'aarch64' : 'x86_64';

test("takes its own machine's image, and refuses a package without one with its own code and sentence", async () => {
  const pack = (name: string, list: Buffer[]): Promise<string> =>
    buildTaskPackage(join(root, 'packages', name), { images: list, version: '1', isolation: 'any' });
  await pack('both', [images.x86_64('both'), images.aarch64('both')]);
  await pack('foreign', [images[other]('foreign')]);
  const store = new PackageStore({
    packagesDir: join(root, 'packages'),
    imagesDir: join(root, 'images'),
    isolations: ['process'],
    maxMemory: 1 << 30,
    trusted: undefined,
    pushed: new PushedPackages(join(root, 'pushed')),
  });
  await store.load();
  const [both, ...more] = store.packages;
  expect(more).toEqual([]);
  expect(readFileSync(await store.imageFile(both!)).equals(images[own]('both'))).toBe(true);
  expect(store.rejected).toMatchObject([
    {
      path: join(root, 'packages/foreign'),
      error: {
        code: ErrorCode.WrongArchitecture,
        message: `task foreign 1 has no image for ${own}, only for ${other}; build it on or for ${own}`,
      },
    },
  ]);
});
