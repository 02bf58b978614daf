import { randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { Deadline } from '../../shared/base/deadline.ts';
import { buildTaskPackage } from '../../shared/task-package/writer.ts';
import { askState } from '../../shared/v2e-client/state-requests.ts';
import { BrokerScene } from '../../test/support/broker/broker-scene.ts';
import { fakeImage } from '../../test/support/fake-image.ts';

const scene = new BrokerScene();
const packagesDir = mkdtempSync(join(tmpdir(), 'kerb-rest-'));
afterAll(async () => {
  await scene.stop();
  scene.remove();
  rmSync(packagesDir, { recursive: true, force: true });
});

/** Files below the folder that hold one of these texts. */
function holding(folder: string, texts: readonly string[]): string[] {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((one) => one.isFile());
  return files
    .map((one) => join(one.parentPath, one.name))
    .filter((path) => {
      const bytes = readFileSync(path);
      return texts.some((text) => bytes.includes(text));
    });
}

test('of values and kept results nothing is readable in the state folder of a broker with a storage key', async () => {
  const common = { version: '1', isolation: 'any' } as const;
  const digest = await buildTaskPackage(join(packagesDir, 'echo'), {
    ...common,
    images: [fakeImage({ maxInput: 100_000, maxOutput: 100_000 })],
  });
  const images = [fakeImage({ name: 'counter', maxInput: 256, maxOutput: 256 })];
  await buildTaskPackage(join(packagesDir, 'counter'), { ...common, images, state: { maxBytes: 64 } });
  const secrets = { value: 'the value of a trip', small: 'what a camera has seen', large: 'a picture of a street ' };
  const texts = Object.values(secrets);
  const kept = async (stateDir: string, storageKeyFile?: string) => {
    const { broker } = await scene.start({ packagesDir, stateDir, ...(storageKeyFile && { storageKeyFile }) });
    const link = await scene.vehicle(broker);
    await askState(link, { home: 'rsu-1', key: 'trip' }, 'counter', {
      ...{ operation: 'put', value: Buffer.from(secrets.value) },
    });
    for (const output of [secrets.small, secrets.large.repeat(3200)]) {
      const request = {
        id: `o${output.length}`,
        input: Buffer.from(`e${output}`),
        isolation: 'any',
        priority: 500,
      } as const;
      const terms = { serviceClass: 'normal', keepMs: 60_000, durable: true, wantReceipt: true } as const;
      await link.send({ ...request, taskDigest: digest, deadline: new Deadline(20_000) }, terms);
    }
    // While it runs, as on a disk that is taken out, and when it has ended.
    const found = holding(stateDir, texts);
    await broker.stop();
    return { found, after: holding(stateDir, texts) };
  };
  const key = join(scene.root, 'storage.key');
  writeFileSync(key, randomBytes(32).toString('hex'), { mode: 0o600 });
  expect(await kept(join(scene.root, 'sealed'), key)).toEqual({ found: [], after: [] });
  // The same search finds all of it where there is no key.
  const plain = await kept(join(scene.root, 'plain'));
  expect(plain.found.some((path) => path.includes('/state/'))).toBe(true);
  expect(plain.found.filter((path) => path.includes('/results/')).length).toBeGreaterThan(1);
});
