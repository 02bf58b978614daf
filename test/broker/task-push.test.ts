import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { BrokerOffloader } from '../../obu/offload/broker-offloader.ts';
import { getControl, getStatus } from '../../shared/api/control-client.ts';
import type { BrokerStatus } from '../../shared/api/status.ts';
import { Deadline } from '../../shared/base/deadline.ts';
import { silentLog } from '../../shared/base/log.ts';
import { fixedIdentity } from '../../shared/identity/identity-watch.ts';
import { loadIdentity } from '../../shared/identity/x509-identity.ts';
import { readPackageFiles, readTaskPackage } from '../../shared/task-package/reader.ts';
import { signTaskPackage } from '../../shared/task-package/signature.ts';
import { loadSigner } from '../../shared/task-package/signer.ts';
import { buildTaskPackage } from '../../shared/task-package/writer.ts';
import { BrokerClient } from '../../shared/v2e-client/broker-client.ts';
import { fakeImage } from '../support/fake-image.ts';
import { Kerb } from '../support/kerb/kerb.ts';
import { longIt } from '../support/rounds.ts';

// `kerb task push` and `kerb broker serve` as processes of their own, with real tenders.

const top = join(import.meta.dirname, '../..');
let root: string;
let commands: Kerb;
let offloader: BrokerOffloader | undefined;
const children: ChildProcess[] = [];

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'kerb-task-push-'));
  commands = new Kerb(root);
  mkdirSync(join(root, 'packages'));
  for (const args of [
    ['pki', 'ca', 'create', '--out', 'ca'],
    ['pki', 'broker', 'rsu-1', '--ca', 'ca', '--out', 'broker'],
    ['pki', 'vehicle', 'laptop', '--tenant', 'ACME', '--ca', 'ca', '--out', 'laptop'],
    ['pki', 'vehicle', 'car-1', '--tenant', 'ACME', '--ca', 'ca', '--out', 'sibling'],
    ['pki', 'vehicle', 'car-2', '--tenant', 'Other', '--ca', 'ca', '--out', 'other'],
    ['pki', 'task-signer', 'maker', '--out', 'maker'],
    ['task', 'build', join(top, 'examples/tasks/echo'), '-o', 'echo'],
  ]) {
    expect(await kerb(...args), args.join(' ')).toMatchObject({ code: 0 });
  }
  cpSync(join(root, 'echo'), join(root, 'unsigned'), { recursive: true });
  expect((await kerb('task', 'sign', 'echo', '--key', 'maker')).code).toBe(0);
});
afterEach(async () => {
  await offloader?.stop();
  offloader = undefined;
  for (const child of children.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
  rmSync(join(root, 'state'), { recursive: true, force: true });
});
afterAll(() => {
  commands.stop();
  rmSync(root, { recursive: true, force: true });
});

async function kerb(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const { code, out, err } = await commands.run(args);
  return { code, stdout: out, stderr: err };
}

async function serve(...flags: string[]): Promise<{ child: ChildProcess; status: BrokerStatus }> {
  const child = spawn(
    process.execPath,
    [
      ...[join(top, 'cli/kerb.ts'), 'broker', 'serve', '--id', 'rsu-1', '--listen', '127.0.0.1:0'],
      ...['--identity', 'broker', '--packages', 'packages', '--trust', 'maker/public'],
      ...['--state', 'state', '--api', 'api.sock', ...flags],
    ],
    { cwd: root, stdio: ['ignore', 'ignore', 'inherit'], env: { ...process.env, KERB_LOG: 'fatal' } },
  );
  children.push(child);
  await vi.waitFor(() => status().then(({ startedAt }) => expect(startedAt).toBeTruthy()), {
    timeout: 20_000,
    interval: 100,
  });
  return { child, status: await status() };
}

const status = () => getStatus<BrokerStatus>(join(root, 'api.sock'));
const pushed = () => readdirSync(join(root, 'state', 'pushed'));
const at = (url: string, identity = 'laptop') => ['--broker', url, '--identity', identity];

async function kill(child: ChildProcess): Promise<void> {
  child.kill('SIGKILL');
  await once(child, 'exit');
}

async function connect(url: string): Promise<void> {
  const identity = fixedIdentity(await loadIdentity(join(root, 'sibling'), 'vehicle'));
  offloader = new BrokerOffloader({ brokers: [{ id: 'rsu-1', url }], identity, log: silentLog() });
  await offloader.start();
  await vi.waitUntil(() => offloader!.places()[0]!.connected, { timeout: 20_000 });
}

let nextId = 0;
async function echo(digest: string, text: string): Promise<string> {
  const asked = { isolation: 'any', deadline: new Deadline(5000), priority: 500 } as const;
  const request = { id: `t${nextId++}`, taskDigest: digest, input: Buffer.from(text) };
  return Buffer.from((await offloader!.offload({ ...request, ...asked })).output).toString();
}

/** A package that takes a while on its way. */
async function largePackage(name: string, bytes = 12_000_000): Promise<{ dir: string; digest: string }> {
  const dir = join(root, name);
  const images = [fakeImage({ name, filler: name.repeat(Math.ceil(bytes / name.length)) })];
  const digest = await buildTaskPackage(dir, { images, version: '1', isolation: 'any' });
  await signTaskPackage(await readTaskPackage(dir), await loadSigner(join(root, 'maker')));
  return { dir, digest };
}

test('pushed, offloaded by a vehicle that was there before, killed, started again, offloaded, listed, removed', async () => {
  const { child, status: before } = await serve('--push-from', 'Nobody,ACME');
  expect(before.packages).toEqual([]);
  await connect(before.url);
  const done = await kerb('task', 'push', 'echo', ...at(before.url), '--id', 'rsu-1');
  expect(done).toMatchObject({ code: 0, stderr: '' });
  expect(done.stdout).toMatch(/^sha256:[0-9a-f]{64} \(echo 1\.0\.0\) is stored there and served: broker rsu-1\n$/);
  const digest = done.stdout.split(' ')[0]!;
  expect(await echo(digest, 'one')).toBe('one');
  expect((await kerb('task', 'push', 'echo', ...at(before.url))).stdout).toMatch(/is already there: broker rsu-1/);
  expect((await status()).packages).toMatchObject([{ digest, tender: 'Waiting', pushed: { vehicle: 'laptop' } }]);
  expect(await getControl(join(root, 'api.sock'), '/metrics')).toContain('broker_pushed_packages{tenant="ACME"} 1');
  await offloader!.stop();
  await kill(child);

  const { status: after } = await serve('--push-from', 'ACME');
  expect(after.packages).toMatchObject([{ digest, tender: 'Waiting', pushed: { tenant: 'ACME' } }]);
  await connect(after.url);
  expect(await echo(digest, 'two')).toBe('two');
  expect((await kerb('task', 'list', ...at(after.url, 'sibling'))).stdout).toMatch(
    new RegExp(`^DIGEST .*\\n${digest} +echo +1\\.0\\.0 +4194304 +4194304\\n$`),
  );
  // Another tenant neither sees it nor learns that it is there.
  expect((await kerb('task', 'list', ...at(after.url, 'other'))).stdout).not.toContain(digest);
  const foreign = await kerb('task', 'remove', digest, ...at(after.url, 'other'));
  expect(foreign).toMatchObject({ code: 1, stderr: expect.stringMatching(/7011 PushForbidden/) });
  expect((await kerb('task', 'remove', digest, ...at(after.url))).stdout).toBe(`${digest} is removed: broker rsu-1\n`);
  await vi.waitFor(async () => expect((await status()).packages).toEqual([]));
  expect(pushed()).toEqual([]);
  await expect(echo(digest, 'three')).rejects.toThrow();
});

test('refused with a sentence each: nobody may, this tenant may not, unsigned, too large, damaged, no broker, no URL', async () => {
  const { child, status: closed } = await serve();
  const nobody = await kerb('task', 'push', 'echo', ...at(closed.url));
  expect(nobody).toMatchObject({ code: 1, stdout: '' });
  expect(nobody.stderr).toBe(
    'kerb: broker rsu-1: this broker takes no pushes; whoever runs it allows them with `kerb broker serve --push-from "ACME"` [7011 PushForbidden]\n',
  );
  await kill(child);
  const { status: open } = await serve('--push-from', 'ACME', '--push-input', '1m');
  const refusal = async (dir: string, identity = 'laptop', ...more: string[]) => {
    const ended = await kerb('task', 'push', dir, ...at(open.url, identity), ...more);
    expect(ended).toMatchObject({ code: 1, stdout: '' });
    return ended.stderr;
  };
  expect(await refusal('echo', 'other')).toMatch(/takes no pushes from tenant Other/);
  expect(await refusal('unsigned')).toMatch(/in the pushed package is not signed; .*\[1016 TaskUnsigned\]/);
  expect(await refusal('echo')).toMatch(
    /takes inputs of 4194304 bytes; .* 1048576 \(--push-input\) \[1020 TaskTooLarge\]/,
  );
  expect(await refusal('echo', 'laptop', '--id', 'rsu-2')).toMatch(/is urn:kerbside:broker:rsu-1, not .*rsu-2/);
  expect(await refusal('echo', 'broker')).toMatch(/a vehicle's is needed here/);
  cpSync(join(root, 'echo'), join(root, 'damaged'), { recursive: true });
  const [blob] = readdirSync(join(root, 'damaged/blobs/sha256'));
  appendFileSync(join(root, 'damaged/blobs/sha256', blob!), 'x');
  expect(await refusal('damaged')).toMatch(/^kerb: damaged\/blobs.*\[1010 TaskPackageDigestMismatch\]/);
  expect(pushed()).toEqual([]);
  expect((await status()).packages).toEqual([]);
  const gone = await kerb('task', 'push', 'echo', ...at('https://127.0.0.1:1'));
  expect(gone.stderr).toMatch(
    /^kerb: no connection to a broker at https:\/\/127\.0\.0\.1:1: .*ECONNREFUSED.* \[6001 NoBroker\]/,
  );
  expect(await kerb('task', 'push', 'echo', ...at('rsu-1'))).toMatchObject({ code: 2 });
  expect((await kerb('task', 'remove', 'echo', ...at(open.url))).stderr).toMatch(/echo is not a valid digest/);
});

longIt('a quota of packages holds over restarts, and two that push the same at once share one', async () => {
  const flags = ['--push-from', 'ACME', '--push-packages', '1', '--push-quota', '20m'];
  const { child, status: first } = await serve(...flags);
  const both = await Promise.all([1, 2].map(() => kerb('task', 'push', 'echo', ...at(first.url))));
  // The second may come while the first is under way, which counts as the one that there may be.
  const ends = both.map(({ code, stderr }) => (code === 0 ? 'there' : stderr));
  expect(ends).toContain('there');
  for (const end of ends) expect(end).toMatch(/^there$|may keep 1 packages/);
  expect(pushed()).toHaveLength(1);
  await kill(child);
  const { status: second } = await serve(...flags);
  const { dir } = await largePackage('large');
  expect((await kerb('task', 'push', dir, ...at(second.url))).stderr).toMatch(
    /--push-packages.*\[7012 PushQuotaSpent\]/,
  );
});

longIt('killed in the middle of a push, the broker starts again with nothing of it, and takes it anew', async () => {
  const { child, status: first } = await serve('--push-from', 'ACME', '--prestart', 'none');
  const { dir, digest } = await largePackage('twice');
  const identity = await loadIdentity(join(root, 'laptop'), 'vehicle');
  const client = new BrokerClient({ url: first.url, identity, brokerId: 'rsu-1' });
  await client.connect();
  const files = await readPackageFiles(await readTaskPackage(dir));
  const ending = client.push(digest, files, (sent, of) => {
    if (sent > of / 2) child.kill('SIGKILL');
  });
  await expect(ending).rejects.toThrow(/the connection to .* was lost/);
  client.close();
  expect(pushed()).toEqual([expect.stringMatching(/^\.incoming-/)]);
  const { status: second } = await serve('--push-from', 'ACME', '--prestart', 'none');
  expect(second.packages).toEqual([]);
  expect(pushed()).toEqual([]);
  expect((await kerb('task', 'push', dir, ...at(second.url))).stdout).toMatch(/is stored there and served/);
  expect(pushed()).toEqual([digest.slice(7)]);
});

longIt('Ctrl-C ends a push: the exit code says so, and the broker keeps nothing of it', async () => {
  const { status: broker } = await serve('--push-from', 'ACME', '--prestart', 'none', '--push-size', '64m');
  const { dir } = await largePackage('interrupted', 60_000_000);
  const pusher = spawn(process.execPath, [join(top, 'cli/kerb.ts'), 'task', 'push', dir, ...at(broker.url)], {
    cwd: root,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  children.push(pusher);
  let said = '';
  pusher.stderr.on('data', (chunk) => (said += chunk));
  await vi.waitUntil(() => pushed().length > 0, { timeout: 20_000, interval: 1 });
  pusher.kill('SIGINT');
  const [code] = await once(pusher, 'close');
  expect({ code, said }).toEqual({ code: 130, said: expect.stringMatching(/^interrupted: .* keeps nothing\n$/) });
  await vi.waitFor(() => expect(pushed()).toEqual([]));
  expect((await status()).packages).toEqual([]);
});
