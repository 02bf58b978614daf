import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { fakeImage } from '../../test/support/fake-image.ts';
import { ErrorCode } from '../base/errors.ts';
import { readPackageFiles, readTaskPackage } from '../task-package/reader.ts';
import { signTaskPackage } from '../task-package/signature.ts';
import { createSigner, loadTrust, type TrustedKeys } from '../task-package/signer.ts';
import { buildTaskPackage } from '../task-package/writer.ts';
import type { TaskDescription } from './broker-client.ts';
import { verifyDescription } from './verify-description.ts';

let root: string;
let trust: TrustedKeys;
let signed: TaskDescription;
let unsigned: TaskDescription;
const query = { name: 'echo', range: '^1' };

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'kerb-describe-test-'));
  const signer = await createSigner(join(root, 'signer'), 'maker');
  trust = await loadTrust(join(root, 'signer/public'));
  const dir = join(root, 'echo');
  await buildTaskPackage(dir, { images: [fakeImage()], version: '1.2.0', isolation: 'any' });
  unsigned = await described(dir);
  await signTaskPackage(await readTaskPackage(dir), signer);
  signed = await described(dir);
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** All files of a package but its image, as a broker sends them. */
async function described(dir: string): Promise<TaskDescription> {
  const found = await readTaskPackage(dir);
  const images = found.images.map(({ digest }) => `blobs/${digest.replace(':', '/')}`);
  const files = (await readPackageFiles(found)).filter(({ path }) => !images.includes(path));
  return { digest: found.digest, files: files.map(({ path, bytes }) => ({ path, content: bytes })) };
}

test('what a trusted key has signed is believed', async () => {
  expect(await verifyDescription(signed, query, trust, 'rsu-1')).toMatchObject({
    digest: signed.digest,
    config: { name: 'echo', version: '1.2.0' },
    signer: 'maker',
  });
});

const changed = (find: RegExp, content: Uint8Array): TaskDescription => ({
  digest: signed.digest,
  files: signed.files.map((file) => (find.test(file.path) ? { ...file, content } : file)),
});

describe('what is not believed', () => {
  const refused = async (given: TaskDescription, code: ErrorCode, message: RegExp, asked: object = query) => {
    const verifying = verifyDescription(given, { ...query, ...asked }, trust, 'rsu-1');
    await expect(verifying).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
    await expect(verifying).rejects.not.toThrow(tmpdir());
  };

  test('no signature', () => refused(unsigned, ErrorCode.TaskUnsigned, /of broker rsu-1 is not signed/));
  test('another key', async () => {
    await createSigner(join(root, 'other'), 'other');
    const theirs = await loadTrust(join(root, 'other/public'));
    await expect(verifyDescription(signed, query, theirs, 'rsu-1')).rejects.toMatchObject({
      code: ErrorCode.TaskSignerUnknown,
    });
  });
  test('another name or version than was asked for', async () => {
    await refused(signed, ErrorCode.BadTaskPackage, /it is echo 1\.2\.0, and echo@\^2 was asked for/, { range: '^2' });
    await refused(signed, ErrorCode.BadTaskPackage, /and filter@\^1 was asked for/, { name: 'filter' });
    const taskDigest = `sha256:${'0'.repeat(64)}`;
    await refused(signed, ErrorCode.BadTaskPackage, /not sha256:0000/, { taskDigest });
  });
  test('another digest than that of its files', () =>
    refused({ ...signed, digest: `sha256:${'0'.repeat(64)}` }, ErrorCode.BadTaskPackage, /have the digest/));
  test('a changed manifest', () =>
    refused(changed(/^blobs/, Buffer.from('{}')), ErrorCode.TaskPackageDigestMismatch, /rsu-1/));
  test('no files', () => refused({ ...signed, files: [] }, ErrorCode.BadTaskPackage, /oci-layout is missing/));
  test('too many, or too large ones', async () => {
    const many = Array.from({ length: 65 }, () => signed.files[0]!);
    await refused({ ...signed, files: many }, ErrorCode.BadTaskPackage, /65 files/);
    await refused(changed(/^index/, Buffer.alloc(2 ** 20 + 1)), ErrorCode.BadTaskPackage, /more than 1048576/);
  });
  test.each(['../x', '/etc/passwd', 'blobs/sha256/../../x', 'blobs/sha256/ABC', ''])('a file named %j', (path) =>
    refused(
      { ...signed, files: [{ path, content: Buffer.of(1) }] },
      ErrorCode.BadTaskPackage,
      /is not a file of a task package/,
    ),
  );
});
