import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ErrorCode } from '../../shared/base/errors.ts';
import { readTaskPackage, type TaskPackage } from '../../shared/task-package/reader.ts';
import { signTaskPackage } from '../../shared/task-package/signature.ts';
import { createSigner, loadTrust } from '../../shared/task-package/signer.ts';
import { buildTaskPackage } from '../../shared/task-package/writer.ts';
import { verifyDescription } from '../../shared/v2e-client/verify-description.ts';
import { fakeImage } from '../../test/support/fake-image.ts';
import { TaskDescriptions } from './describe.ts';

let root: string;
let packages: TaskPackage[];
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'kerb-describe-'));
  const signer = await createSigner(join(root, 'maker'), 'maker');
  packages = [];
  for (const version of ['1.0.0', '1.10.0', '1.9.0', '2.0.0']) {
    const dir = join(root, version);
    await buildTaskPackage(dir, { images: [fakeImage()], version, isolation: 'any' });
    const found = await readTaskPackage(dir);
    await signTaskPackage(found, signer);
    packages.push(found);
  }
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const all = () => true;
const digestOfVersion = (version: string) => packages.find(({ config }) => config.version === version)!.digest;

test.each([
  ['', '2.0.0'],
  ['^1', '1.10.0'],
  ['~1.9', '1.9.0'],
  ['1.0.0', '1.0.0'],
])('of a name, the newest in the range %j is version %s', async (range, version) => {
  const descriptions = new TaskDescriptions(() => packages);
  expect((await descriptions.describe({ name: 'echo', range }, all)).digest).toBe(digestOfVersion(version));
});

test('a description is what its caller can verify by its own trust, and holds no image', async () => {
  const descriptions = new TaskDescriptions(() => packages);
  const { digest, files } = await descriptions.describe({ digest: digestOfVersion('1.9.0') }, all);
  const described = files.map(({ path, bytes }) => ({ path, content: bytes }));
  const trust = await loadTrust(join(root, 'maker/public'));
  const query = { name: 'echo', range: '^1' };
  expect(await verifyDescription({ digest, files: described }, query, trust, 'rsu-1')).toMatchObject({
    signer: 'maker',
  });
  const images = packages.flatMap((one) => one.images.map((image) => image.digest.split(':')[1]!));
  expect(files.filter(({ path }) => images.some((image) => path.endsWith(image)))).toEqual([]);
});

test('what is not there, or not for this caller, is unknown', async () => {
  const descriptions = new TaskDescriptions(() => packages);
  const hidden = (digest: string) => digest !== digestOfVersion('2.0.0');
  expect((await descriptions.describe({ name: 'echo', range: '' }, hidden)).digest).toBe(digestOfVersion('1.10.0'));
  for (const query of [
    { digest: digestOfVersion('2.0.0') },
    { name: 'echo', range: '^3' },
    { name: 'other', range: '' },
  ]) {
    await expect(descriptions.describe(query, hidden)).rejects.toMatchObject({ code: ErrorCode.UnknownPackage });
  }
});

test('a package whose files are gone is said so, without a path, and is read anew when they are back', async () => {
  const lost = { ...packages[0]!, dir: join(root, 'nowhere') };
  const descriptions = new TaskDescriptions(() => [lost]);
  const asked = descriptions.describe({ digest: lost.digest }, all);
  await expect(asked).rejects.toMatchObject({
    code: ErrorCode.PackageNotStored,
    message: 'this broker cannot read the package of echo 1.0.0 any more',
  });
  Object.assign(lost, { dir: packages[0]!.dir });
  expect((await descriptions.describe({ digest: lost.digest }, all)).digest).toBe(lost.digest);
});
