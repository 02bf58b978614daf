import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { DEFAULT_LIMITS } from '../../broker/config.ts';
import { DEFAULT_PUSH_LIMITS } from '../../broker/packages/push-limits.ts';
import { Deadline } from '../../shared/base/deadline.ts';
import { ErrorCode, isErrno, isKerbError } from '../../shared/base/errors.ts';
import { loadIdentity } from '../../shared/identity/x509-identity.ts';
import { readPackageFiles, readTaskPackage } from '../../shared/task-package/reader.ts';
import { signTaskPackage } from '../../shared/task-package/signature.ts';
import { createSigner } from '../../shared/task-package/signer.ts';
import { buildTaskPackage } from '../../shared/task-package/writer.ts';
import { BrokerClient } from '../../shared/v2e-client/broker-client.ts';
import { BrokerScene } from '../support/broker/broker-scene.ts';
import { CounterTender } from '../support/broker/counter-tender.ts';
import { fakeImage } from '../support/fake-image.ts';

// Results, state, the audit log and pushed packages on a disk that is really full.

let scene: BrokerScene;
let disk: string;
const undo: (() => unknown)[] = [];
beforeEach(() => {
  scene = new BrokerScene();
  disk = join(scene.root, 'disk');
  mkdirSync(disk);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'kerb-test', disk]);
});
afterEach(async () => {
  for (let step = undo.pop(); step !== undefined; step = undo.pop()) await step();
  await scene.stop();
  execFileSync('umount', [disk]);
  scene.remove();
});

/** Leaves not a page. */
function fill(): void {
  for (let bytes = 4 << 20, file = 0; bytes >= 4096; file++) {
    try {
      writeFileSync(join(disk, `filler-${file}`), Buffer.alloc(bytes));
    } catch (error) {
      if (!isErrno(error, 'ENOSPC')) throw error;
      // What there was room for is in the file.
      bytes /= 2;
    }
  }
}
const empty = () => execFileSync('sh', ['-c', `rm -f '${disk}'/filler-*`]);

test('offloads go on without it, who asks is told in one line, and all is written again when there is room', async () => {
  const audit = { file: join(disk, 'audit.log'), maxBytes: 1 << 20, keep: 1, hashInputs: false };
  const push = { tenants: ['ACME'], limits: DEFAULT_PUSH_LIMITS, maxInput: 65_536 };
  const stateDir = join(disk, 'state');
  const limits = { ...DEFAULT_LIMITS, maxTendersPerTask: 1 };
  const signer = await createSigner(join(scene.root, 'signer'), 'maker');
  const what = { images: [fakeImage()], version: '1', isolation: 'any' } as const;
  scene.digest = await buildTaskPackage(join(scene.root, 'packages/echo'), what);
  await signTaskPackage(await readTaskPackage(join(scene.root, 'packages/echo')), signer);
  const trustDir = join(scene.root, 'signer/public');
  const { broker } = await scene.start({ stateDir, audit, push, limits, trustDir });
  const identity = await loadIdentity(
    await scene.identityDir({ kind: 'vehicle', id: 'car-2', tenant: 'ACME' }),
    'vehicle',
  );
  const client = new BrokerClient({ url: broker.url, identity, brokerId: 'rsu-1' });
  undo.push(() => client.close());
  await client.connect();
  const durably = async (id: string) => {
    const input = Buffer.concat([Buffer.from('e'), Buffer.alloc(60_000, id)]);
    const request = { id, input, isolation: 'any', taskDigest: scene.digest, priority: 500 } as const;
    const terms = { serviceClass: 'normal', keepMs: 60_000, durable: true } as const;
    return await client.offload({ ...request, deadline: new Deadline(20_000) }, terms);
  };
  const packageDir = join(scene.root, 'pushed');
  const image = fakeImage({ name: 'pushed', filler: 'x'.repeat(100_000) });
  const digest = await buildTaskPackage(packageDir, { images: [image], version: '1', isolation: 'any' });
  const found = await readTaskPackage(packageDir);
  await signTaskPackage(found, signer);
  const files = await readPackageFiles(found);
  const results = () => broker.status().results!;
  const sources = () => broker.status().errors.map(({ source }) => source);

  await durably('before');
  expect(results()).toMatchObject({ count: 1, reason: '' });
  expect(results().diskBytes).toBeGreaterThan(60_000);

  const other = await scene.vehicle(broker);
  fill();
  for (const id of ['full-1', 'full-2']) expect((await durably(id)).output).toHaveLength(60_001);
  expect(results()).toMatchObject({ count: 3, reason: expect.stringMatching(/^[^\n]*(full|ENOSPC)[^\n]*$/) });
  expect(results().memoryBytes).toBeGreaterThan(120_000);
  const refused = await client.push(digest, files).catch((error: unknown) => error);
  expect(refused).toMatchObject({
    code: ErrorCode.PackageNotStored,
    message: expect.stringMatching(/^[^\n]*ENOSPC[^\n]*$/),
  });
  // A page of the file itself may have taken the first lines.
  for (let i = 0; i < 200 && !sources().includes('audit log'); i++) await scene.offload(other);
  await vi.waitUntil(() => sources().includes('audit log'), { timeout: 20_000 });
  expect(sources()).toEqual(expect.arrayContaining(['results', 'audit log']));
  for (const { message } of broker.status().errors) expect(message).not.toContain('\n');

  empty();
  await vi.waitUntil(() => results().reason === '', { timeout: 20_000 });
  await durably('after');
  expect(results().diskBytes).toBeGreaterThan(120_000);
  expect(await client.push(digest, files)).toBe('STORED');
  const lines = () =>
    readFileSync(audit.file, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { id?: string });
  await vi.waitUntil(() => lines().some(({ id }) => id === 'after'), { timeout: 20_000 });
  // Not a line is lost, and none is cut.
  for (const id of ['before', 'full-1', 'full-2']) expect(lines().filter((line) => line.id === id)).toHaveLength(1);
});

test('state that cannot be written is refused in one line and not changed; what was acknowledged counts on', async () => {
  const images = [fakeImage({ name: 'counter', maxInput: 256, maxOutput: 256 })];
  const packagesDir = join(scene.root, 'packages');
  const what = { version: '1', isolation: 'any', images } as const;
  const counter = await buildTaskPackage(join(packagesDir, 'counter'), { ...what, state: { maxBytes: 64 } });
  const parts = { createTender: () => new CounterTender() };
  const { broker } = await scene.start({ stateDir: join(disk, 'state') }, undefined, parts);
  const link = await scene.vehicle(broker);
  const count = async () => {
    const input = Buffer.from('more');
    const request = { id: randomUUID(), input, isolation: 'any', taskDigest: counter, priority: 500 } as const;
    const state = { home: 'rsu-1', key: 'trip', tenant: undefined };
    const terms = { serviceClass: 'normal', keepMs: 0, durable: false, state } as const;
    return Number((await link.send({ ...request, deadline: new Deadline(30_000) }, terms)).output.toString());
  };
  expect(await count()).toBe(1);
  fill();
  // Some more may fit into pages that the database has already.
  let acknowledged = 1;
  let refusal: unknown;
  while (refusal === undefined && acknowledged < 2000) {
    await count().then(
      (value) => expect(value).toBe(++acknowledged),
      (error: unknown) => {
        refusal = error;
      },
    );
  }
  expect(refusal).toMatchObject({
    message: expect.stringMatching(/^[^\n]*state of sessions cannot be kept here now: [^\n]*(full|ENOSPC)[^\n]*$/),
    context: { refusal: ErrorCode.StateNotKept, retryAfterMs: 5000 },
  });
  expect(broker.status().errors.map(({ source }) => source)).toContain('state');
  await expect(count()).rejects.toMatchObject({ context: { refusal: ErrorCode.StateNotKept } });

  empty();
  await vi.waitUntil(
    () =>
      count()
        .then((value) => expect(value).toBe(++acknowledged))
        .then(
          () => true,
          (error: unknown) => {
            if (!isKerbError(error)) throw error;
            return false;
          },
        ),
    { timeout: 20_000, interval: 500 },
  );
  expect(await count()).toBe(acknowledged + 1);
});
