import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { ErrorCode } from '../../shared/base/errors.ts';
import { silentLog } from '../../shared/base/log.ts';
import { type Credentials, createAuthority, issueCertificate } from '../../shared/identity/authority.ts';
import { writeIdentity } from '../../shared/identity/files.ts';
import { loadIdentity } from '../../shared/identity/x509-identity.ts';
import { readPackageFiles, readTaskPackage } from '../../shared/task-package/reader.ts';
import { signTaskPackage } from '../../shared/task-package/signature.ts';
import { createSigner, type Signer } from '../../shared/task-package/signer.ts';
import { buildTaskPackage } from '../../shared/task-package/writer.ts';
import { BrokerClient } from '../../shared/v2e-client/broker-client.ts';
import { noThread } from '../../test/support/broker/no-thread.ts';
import { fakeImage } from '../../test/support/fake-image.ts';
import { FakeTender } from '../../test/support/fake-tender.ts';
import { DEFAULT_LIMITS } from '../config.ts';
import { startBroker } from '../main.ts';
import { DEFAULT_PUSH_LIMITS } from '../packages/push-limits.ts';

let root: string;
let authority: Credentials;
let signer: Signer;
let next = 0;
const fresh = () => join(root, `d${next++}`);
const undo: (() => unknown)[] = [];

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'kerb-policy-broker-'));
  authority = await createAuthority('Test CA');
  signer = await createSigner(join(root, 'signer'), 'maker');
});
afterAll(() => rmSync(root, { recursive: true, force: true }));
afterEach(async () => {
  for (let step = undo.pop(); step !== undefined; step = undo.pop()) await step();
});

async function identityOf(tenant: string): Promise<string> {
  const dir = fresh();
  const subject = { kind: 'vehicle', id: 'car-1', tenant } as const;
  await writeIdentity(dir, await issueCertificate(authority, subject), authority.certificate);
  return dir;
}

async function start(policy: string, stateDir = fresh()) {
  const policyFile = fresh();
  writeFileSync(policyFile, policy);
  const identityDir = fresh();
  const certificate = await issueCertificate(authority, { kind: 'broker', id: 'rsu-1', hosts: [] });
  await writeIdentity(identityDir, certificate, authority.certificate);
  const packagesDir = fresh();
  mkdirSync(packagesDir);
  const tenders: FakeTender[] = [];
  const broker = await startBroker(
    {
      id: 'rsu-1',
      listen: { host: '127.0.0.1', port: 0 },
      identityDir,
      packagesDir,
      trustDir: join(root, 'signer', 'public'),
      stateDir,
      apiSocket: join(root, `s${next++}`),
      isolation: 'process',
      prestart: 'all',
      limits: { ...DEFAULT_LIMITS, maxTendersPerTask: 1 },
      push: { tenants: [], limits: DEFAULT_PUSH_LIMITS, maxInput: 65_536 },
      policyFile,
    },
    {
      log: silentLog(),
      runThread: noThread,
      createTender: () => {
        const tender = new FakeTender();
        tenders.push(tender);
        return tender;
      },
    },
  );
  undo.push(() => broker.stop());
  const change = async (text: string) => {
    writeFileSync(policyFile, text);
    await broker.reload();
  };
  return { broker, change, tenders, stateDir };
}

async function client(url: string, tenant: string): Promise<BrokerClient> {
  const identity = await loadIdentity(await identityOf(tenant), 'vehicle');
  const made = new BrokerClient({ url, identity, brokerId: 'rsu-1' });
  undo.push(() => made.close());
  await made.connect();
  return made;
}

async function packed(version = '1', days = 30) {
  const dir = fresh();
  const digest = await buildTaskPackage(dir, {
    images: [fakeImage({ filler: version })],
    version,
    isolation: 'any',
  });
  const found = await readTaskPackage(dir);
  await signTaskPackage(found, signer, days);
  return { digest, files: await readPackageFiles(found) };
}

test('a bad file keeps a broker from starting, and a running one on its policy', async () => {
  await expect(start('others: maybe')).rejects.toMatchObject({ code: ErrorCode.BadPolicy });
  const { broker, change } = await start('default: { packages: { push: true } }');
  await change('others: maybe');
  expect(broker.status().errors).toMatchObject([{ message: expect.stringMatching(/:1: others: must be/) }]);
  const echo = await packed();
  expect(await (await client(broker.url, 'ACME')).push(echo.digest, echo.files)).toBe('STORED');
  await change('{}');
  await expect((await client(broker.url, 'ACME')).push(echo.digest, echo.files)).rejects.toMatchObject({
    code: ErrorCode.PushForbidden,
    message: expect.stringContaining('in its policy'),
  });
});

test('the status has the file, and keys that nothing is signed with', async () => {
  const { broker, change } = await start('{}');
  const { policy, errors } = broker.status();
  expect(policy).toEqual({ file: expect.any(String), loadedAt: expect.stringMatching(/^20.*Z$/), reason: '' });
  expect(errors).toEqual([]);
  await change('revoked: { keys: [makr] }');
  expect(broker.status().errors).toMatchObject([
    { source: 'policy', message: expect.stringContaining('"makr", which is not in the trust folder') },
  ]);
  await change('revoked: { kyes: [maker] }');
  expect(broker.status().policy).toMatchObject({ reason: expect.stringContaining('kyes') });
});

test('a policy that lets tenants push needs trusted keys', async () => {
  const file = fresh();
  writeFileSync(file, 'tenants: { ACME: { packages: { push: true } } }');
  const { PolicyFile } = await import('./policy-file.ts');
  const { startPolicy } = await import('./start-policy.ts');
  expect(PolicyFile).toBeTruthy();
  const { RunningParts } = await import('../../shared/base/running-parts.ts');
  const { RecentErrors } = await import('../../shared/api/recent-errors.ts');
  const config = { limits: DEFAULT_LIMITS, policyFile: file, trustDir: undefined };
  const log = silentLog();
  const begun = startPolicy(new RunningParts(log), config as never, { errors: new RecentErrors(), log });
  await expect(begun).rejects.toMatchObject({ code: ErrorCode.BadPolicy, message: /ACME push, which needs --trust/ });
});

test('a revoked package is withdrawn at once, stays so after a restart, and comes back with the policy', async () => {
  const open = 'default: { packages: { push: true } }\n';
  const { broker, change, stateDir } = await start(open);
  const echo = await packed();
  await (await client(broker.url, 'ACME')).push(echo.digest, echo.files);
  expect(broker.status().packages).toHaveLength(1);
  await change(`${open}revoked: { digests: ["${echo.digest}"] }\n`);
  expect(broker.status()).toMatchObject({ packages: [], rejected: [{ reason: expect.stringContaining('revoked') }] });
  const again = await packed();
  await expect((await client(broker.url, 'Other')).push(again.digest, again.files)).rejects.toMatchObject({
    code: ErrorCode.TaskRevoked,
  });
  await change(open);
  expect(broker.status()).toMatchObject({ packages: [{ digest: echo.digest }], rejected: [] });
  await change(`${open}revoked: { keys: [maker] }\n`);
  expect(broker.status()).toMatchObject({ packages: [], rejected: [{ reason: expect.stringContaining('maker') }] });
  await broker.stop();
  const later = await start(`${open}revoked: { keys: [maker] }\n`, stateDir);
  expect(later.broker.status()).toMatchObject({
    packages: [],
    rejected: [{ reason: expect.stringContaining('maker') }],
  });
});

test('versions only go forward, each tenant for itself', async () => {
  const { broker } = await start('default: { packages: { push: true } }\nversions: forward\n');
  const [old, newer] = [await packed('1.9'), await packed('1.10')];
  const acme = await client(broker.url, 'ACME');
  await acme.push(newer.digest, newer.files);
  await expect(acme.push(old.digest, old.files)).rejects.toMatchObject({ code: ErrorCode.TaskRevoked });
  expect(await (await client(broker.url, 'Other')).push(old.digest, old.files)).toBe('STORED');
});

test('a signature that expires while the broker runs takes its package out, and a new one brings it back', async () => {
  const { broker } = await start('default: { packages: { push: true } }');
  const echo = await packed('1', 2 / 86_400);
  const acme = await client(broker.url, 'ACME');
  await acme.push(echo.digest, echo.files);
  expect(broker.status().packages).toHaveLength(1);
  await vi.waitFor(() => expect(broker.status()).toMatchObject({ packages: [], rejected: [{}] }), 20_000);
  expect(broker.status().rejected![0]!.reason).toMatch(/expired/);
  const renewed = await packed('1', 30);
  expect(await acme.push(renewed.digest, renewed.files)).toBe('STORED');
  expect(broker.status()).toMatchObject({ packages: [{ digest: echo.digest }], rejected: [] });
});

test('two tenants that push the same package each own it, until the last has removed it', async () => {
  const { broker, stateDir } = await start('default: { packages: { push: true } }');
  const echo = await packed();
  const [acme, other] = [await client(broker.url, 'ACME'), await client(broker.url, 'Other')];
  expect(await acme.push(echo.digest, echo.files)).toBe('STORED');
  expect(await other.push(echo.digest, echo.files)).toBe('STORED');
  expect(broker.status().packages).toHaveLength(1);
  await broker.stop();
  const again = await start('default: { packages: { push: true } }', stateDir);
  const [first, second] = [await client(again.broker.url, 'ACME'), await client(again.broker.url, 'Other')];
  await first.remove(echo.digest);
  await expect(first.remove(echo.digest)).rejects.toMatchObject({ code: ErrorCode.UnknownPackage });
  expect(again.broker.status().packages).toMatchObject([{ pushed: { tenant: 'Other' } }]);
  await second.remove(echo.digest);
  expect(again.broker.status().packages).toEqual([]);
});
