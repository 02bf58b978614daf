import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { get as httpGet, type IncomingMessage } from 'node:http';
import { Agent } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { Command } from 'commander';
import { io, type Socket } from 'socket.io-client';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { registerBrokerCommands } from '../../cli/broker/broker-commands.ts';
import type { NeighbourStatus } from '../../shared/api/broker.ts';
import { Deadline } from '../../shared/base/deadline.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import { silentLog } from '../../shared/base/log.ts';
import {
  type Credentials,
  createAuthority,
  createRevocationList,
  issueCertificate,
} from '../../shared/identity/authority.ts';
import { parseCertificate } from '../../shared/identity/certificate.ts';
import { writeIdentity } from '../../shared/identity/files.ts';
import { IDENTITY_FILES, loadIdentity } from '../../shared/identity/x509-identity.ts';
import { kerbside } from '../../shared/protocol/generated/v2e.js';
import { V2E_TRANSPORT } from '../../shared/protocol/v2e-socket.ts';
import { readPackageFiles, readTaskPackage } from '../../shared/task-package/reader.ts';
import { signTaskPackage } from '../../shared/task-package/signature.ts';
import { createSigner, type Signer } from '../../shared/task-package/signer.ts';
import { buildTaskPackage } from '../../shared/task-package/writer.ts';
import { BrokerClient } from '../../shared/v2e-client/broker-client.ts';
import { BrokerLink } from '../../shared/v2e-client/broker-link.ts';
import { makeClaimToken } from '../../shared/v2e-client/claim-token.ts';
import { noThread } from '../../test/support/broker/no-thread.ts';
import { fakeImage } from '../../test/support/fake-image.ts';
import { FakeTender } from '../../test/support/fake-tender.ts';
import { until as untilWithin } from '../../test/support/until.ts';
import { DEFAULT_LIMITS } from '../config.ts';
import { type RunningBroker, startBroker } from '../main.ts';
import { DEFAULT_PUSH_LIMITS } from '../packages/push-limits.ts';

const { ClaimRequest, NeighbourReply, OffloadReply, PackageNotice, PackageQuery, PieceQuery } = kerbside.v2e;
/** Below the limit of a test, so that it says what it has waited for. */
const until: typeof untilWithin = (what, look, now) => untilWithin(what, look, now, 15_000);
let root: string;
let authority: Credentials;
let signer: Signer;
let next = 0;
const fresh = () => join(root, `d${next++}`);
const undo: (() => unknown)[] = [];

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'kerb-neighbours-'));
  authority = await createAuthority('Test CA');
  signer = await createSigner(join(root, 'signer'), 'maker');
  await createSigner(join(root, 'stranger'), 'stranger');
});
afterAll(() => rmSync(root, { recursive: true, force: true }));
afterEach(async () => {
  vi.restoreAllMocks();
  for (let step = undo.pop(); step !== undefined; step = undo.pop()) await step();
});

async function identityOf(subject: Parameters<typeof issueCertificate>[1], by = authority): Promise<string> {
  const dir = fresh();
  await writeIdentity(dir, await issueCertificate(by, subject), by.certificate);
  return dir;
}
const brokerIdentity = (id: string, by?: Credentials) => identityOf({ kind: 'broker', id, hosts: [] }, by);

const policyFor = (neighbour: string, may = '[packages, results]') => `
default: { packages: { push: true, count: 8, bytes: 16m } }
neighbours: [{ broker: ${neighbour}, tenant: ACME, may: ${may} }]
`;

interface Started {
  readonly broker: RunningBroker;
  readonly api: string;
  readonly audit: string;
  readonly stateDir: string;
  readonly identityDir: string;
  change(policy: string): Promise<void>;
}

/** @param known addresses of neighbours @param trust folder of public keys */
async function start(
  id: string,
  policy: string,
  known: Record<string, string> = {},
  { trust = join(root, 'signer', 'public'), port = 0, stateDir = fresh() } = {},
): Promise<Started> {
  const [policyFile, packagesDir, api, audit] = [fresh(), fresh(), fresh(), fresh()];
  const identityDir = await brokerIdentity(id);
  writeFileSync(policyFile, policy);
  mkdirSync(packagesDir);
  const config = {
    ...{ id, packagesDir, stateDir, policyFile, apiSocket: api },
    listen: { host: '127.0.0.1', port },
    identityDir,
    trustDir: trust,
    isolation: 'process' as const,
    prestart: 'all' as const,
    limits: { ...DEFAULT_LIMITS, maxTendersPerTask: 1 },
    push: { tenants: [], limits: DEFAULT_PUSH_LIMITS, maxInput: 65_536 },
    neighbours: new Map(Object.entries(known)),
    audit: { file: audit, maxBytes: 1_000_000, keep: 1, hashInputs: false },
  };
  const broker = await startBroker(config, {
    log: silentLog(),
    runThread: noThread,
    createTender: () => new FakeTender(),
  });
  undo.push(() => broker.stop());
  const change = async (text: string) => {
    writeFileSync(policyFile, text);
    await broker.reload();
  };
  return { broker, api, audit, stateDir, identityDir, change };
}

async function get<T>(api: string, what: string): Promise<T> {
  let printed = '';
  const print = vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    printed += text;
    return true;
  });
  const program = new Command().exitOverride();
  registerBrokerCommands(program);
  await program.parseAsync(['broker', 'get', what, '-o', 'json', '--api', api], { from: 'user' });
  print.mockRestore();
  return JSON.parse(printed) as T;
}
const http = (where: { socketPath: string; path: string }) =>
  new Promise<IncomingMessage>((resolve, reject) => httpGet(where, resolve).on('error', reject));
const neighbourOf = async ({ api }: Started) => (await get<NeighbourStatus[]>(api, 'neighbours'))[0]!;
const digestsOf = ({ broker }: Started) => broker.status().packages.map(({ digest }) => digest);

async function vehicle({ broker }: Started, tenant = 'ACME'): Promise<BrokerClient> {
  const identity = await loadIdentity(await identityOf({ kind: 'vehicle', id: 'car-1', tenant }), 'vehicle');
  const client = new BrokerClient({ url: broker.url, identity, brokerId: undefined });
  undo.push(() => client.close());
  await client.connect();
  return client;
}

async function packed(version = '1', by = signer) {
  const dir = fresh();
  const digest = await buildTaskPackage(dir, { images: [fakeImage({ filler: version })], version, isolation: 'any' });
  const found = await readTaskPackage(dir);
  await signTaskPackage(found, by, 30);
  return { digest, files: await readPackageFiles(found) };
}

const offload = (client: BrokerClient, taskDigest: string, input = 'e') =>
  client.offload(
    {
      ...{ id: `o${next++}`, input: Buffer.from(input), isolation: 'any', taskDigest, priority: 500 },
      deadline: new Deadline(5000),
    },
    { serviceClass: 'normal', keepMs: 0, durable: false },
  );

/** A program that speaks as a neighbour would. */
async function raw({ broker }: Started, identityDir: string, kind: 'broker' | 'vehicle' = 'broker'): Promise<Socket> {
  const identity = await loadIdentity(identityDir, kind);
  const agent = new Agent(identity.clientOptions(undefined));
  const socket = io(broker.url, {
    ...{ ...V2E_TRANSPORT, path: '/neighbours', agent: agent as unknown as string },
    ...{ auth: { versions: [1] }, forceNew: true, reconnection: false },
  });
  undo.push(() => socket.disconnect());
  await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('connect_error', reject));
  return socket;
}

test('a package that a tenant has pushed to one is run by the other, and nothing is forwarded for anybody else', async () => {
  const b = await start('rsu-2', policyFor('rsu-1'));
  const a = await start('rsu-1', policyFor('rsu-2'), { 'rsu-2': b.broker.url });
  await until('they are connected', async () => (await neighbourOf(a)).state === 'connected');
  const [echo, other] = [await packed('1'), await packed('2')];
  await (await vehicle(a)).push(echo.digest, echo.files);
  await (await vehicle(a, 'Other')).push(other.digest, other.files);
  await until('it is there', () => digestsOf(b).includes(echo.digest));
  await until('that is known', async () => (await neighbourOf(a)).packages.there === 1);
  expect(await neighbourOf(a)).toMatchObject({ packages: { there: 1, waiting: 0 }, notTaken: [], reason: '' });
  expect(digestsOf(b)).toEqual([echo.digest]);
  // Who knows one of them learns the other, and can verify it.
  const car = await vehicle(a);
  await until('it is learnt', async () => (await car.announcements()).length === 2);
  expect((await offload(await vehicle(b), echo.digest)).place).toBe('broker:rsu-2');
  await expect(offload(await vehicle(b, 'Other'), echo.digest)).rejects.toThrow();
  await a.broker.stop();
  await b.broker.stop();
  expect(readFileSync(a.audit, 'utf8')).toMatch(new RegExp(`"forward".*broker rsu-2.*ACME.*${echo.digest}`));
  expect(readFileSync(b.audit, 'utf8')).toMatch(new RegExp(`"fetch".*broker rsu-1.*ACME.*${echo.digest}`));
});

test('each keeps one link when both connect, and comes back after the other was away, with what it had missed', async () => {
  const b = await start('rsu-2', policyFor('rsu-1'));
  const port = Number(new URL(b.broker.url).port);
  const a = await start('rsu-1', policyFor('rsu-2'), { 'rsu-2': b.broker.url });
  await until('they are connected', async () => (await neighbourOf(a)).state === 'connected');
  await b.broker.stop();
  await until('it is away', async () => (await neighbourOf(a)).state === 'away');
  const echo = await packed('1');
  await (await vehicle(a)).push(echo.digest, echo.files);
  expect(await neighbourOf(a)).toMatchObject({
    packages: { there: 0, waiting: 1 },
    reason: expect.stringMatching(/./),
  });
  const again = await start('rsu-2', policyFor('rsu-1'), { 'rsu-1': a.broker.url }, { port, stateDir: b.stateDir });
  await until('it is there', () => digestsOf(again).includes(echo.digest));
  for (const one of [a, again]) {
    await until('they are connected', async () => (await neighbourOf(one)).state === 'connected');
  }
});

test('a neighbour that does not trust the signer says so, to the other broker and to vehicles', async () => {
  const b = await start('rsu-2', policyFor('rsu-1'), {}, { trust: join(root, 'stranger', 'public') });
  const a = await start('rsu-1', policyFor('rsu-2'), { 'rsu-2': b.broker.url });
  const echo = await packed('1');
  await (await vehicle(a)).push(echo.digest, echo.files);
  await until('it was refused', async () => (await neighbourOf(a)).notTaken.length === 1);
  expect(await neighbourOf(a)).toMatchObject({
    notTaken: [{ tenant: 'ACME', digest: echo.digest, code: ErrorCode.TaskSignerUnknown }],
    packages: { there: 0, waiting: 0 },
  });
  expect(digestsOf(b)).toEqual([]);
  await expect(offload(await vehicle(b), echo.digest, '')).rejects.toMatchObject({
    context: { refusal: ErrorCode.TaskSignerUnknown },
  });
  const metrics = await text(await http({ socketPath: a.api, path: '/metrics' }));
  expect(metrics).toMatch(/broker_forwarded_total\{kind="package",neighbour="rsu-2",result="refused"\} 1/);
});

test('a broker that the policy does not name is not let in, nor one of another authority, nor a vehicle', async () => {
  const a = await start('rsu-1', policyFor('rsu-2'));
  const foreign = await createAuthority('Another CA');
  for (const dir of [await brokerIdentity('rsu-9'), await brokerIdentity('rsu-2', foreign)]) {
    await expect(raw(a, dir)).rejects.toThrow();
  }
  await expect(raw(a, await identityOf({ kind: 'vehicle', id: 'car-1', tenant: 'ACME' }), 'vehicle')).rejects.toThrow();
  expect((await neighbourOf(a)).state).toBe('away');
  expect((await vehicle(a)).describe).toBeDefined();
});

test('a neighbour is cut off when the policy names it no more', async () => {
  const a = await start('rsu-1', policyFor('rsu-2'));
  const socket = await raw(a, await brokerIdentity('rsu-2'));
  await until('it is connected', async () => (await neighbourOf(a)).state === 'connected');
  await a.change('{}');
  await until('it is cut off', () => !socket.connected);
  await expect(raw(a, await brokerIdentity('rsu-2'))).rejects.toThrow();
});

test.each(['accepted', 'dialled'])(
  'a link that was %s ends at once when the other certificate is revoked, and what waits stays counted',
  async (way) => {
    const isDialled = way === 'dialled';
    const b = await start('rsu-2', policyFor('rsu-1'));
    const a = await start('rsu-1', policyFor('rsu-2'), { 'rsu-2': b.broker.url });
    const [judging, stolen] = isDialled ? [a, b] : [b, a];
    await until('they are connected', async () => (await neighbourOf(judging)).state === 'connected');
    const { serialNumber } = parseCertificate(
      readFileSync(join(stolen.identityDir, IDENTITY_FILES.certificate), 'utf8'),
      '',
    );
    const list = await createRevocationList(authority, new Map([[serialNumber, new Date()]]));
    writeFileSync(join(judging.identityDir, 'crl.pem'), list);
    await judging.broker.reload();
    await until('it is cut off', async () => (await neighbourOf(judging)).state === 'away');
    await until('the other one sees it', async () => (await neighbourOf(stolen)).state === 'away');
    const echo = await packed('1');
    await (await vehicle(judging)).push(echo.digest, echo.files);
    expect(await neighbourOf(judging)).toMatchObject({ state: 'away', packages: { there: 0, waiting: 1 } });
    await expect(raw(judging, stolen.identityDir)).rejects.toThrow();
    // Both have tried again by now, in vain, and vehicles are served.
    await new Promise((resolve) => setTimeout(resolve, 1500));
    expect(await neighbourOf(judging)).toMatchObject({ state: 'away' });
    expect(digestsOf(stolen)).toEqual([]);
    expect((await offload(await vehicle(judging), echo.digest)).place).toBe(`broker:${isDialled ? 'rsu-1' : 'rsu-2'}`);
  },
);

test('a lying neighbour gains nothing, and a flooding one costs only itself', async () => {
  const a = await start('rsu-1', policyFor('rsu-2'));
  const echo = await packed('1');
  const other = await packed('2');
  await (await vehicle(a)).push(echo.digest, echo.files);
  await (await vehicle(a, 'Other')).push(other.digest, other.files);
  const socket = await raw(a, await brokerIdentity('rsu-2'));
  const ask = async (event: string, bytes: Uint8Array) =>
    NeighbourReply.decode(await socket.timeout(5000).emitWithAck(event, bytes));

  // What is not for it is not there.
  for (const [tenant, digest] of [
    ['Other', other.digest],
    ['ACME', other.digest],
    ['ACME', 'sha256:none'],
  ] as const) {
    expect((await ask('files', PackageQuery.encode({ tenant, digest }).finish())).refusal?.code).toBe(
      ErrorCode.UnknownPackage,
    );
  }
  const piece = { tenant: 'ACME', package: { digest: echo.digest, path: '../../origin.json' }, offset: 0, size: 10 };
  expect((await ask('piece', PieceQuery.encode(piece).finish())).refusal).toBeDefined();
  for (const bytes of [Buffer.alloc(0), Buffer.alloc(100, 0xff), Buffer.from('text')]) {
    for (const event of ['package', 'files', 'piece', 'claim', 'result']) {
      expect((await ask(event, bytes)).refusal, event).toBeDefined();
    }
  }
  // Files that are not those of the package, or never come to an end.
  const [served, asked] = [{ files: echo.files, lie: true }, [] as string[]];
  socket.on('files', (_bytes: Uint8Array, answer: (bytes: Uint8Array) => void) => {
    asked.push('files');
    const files = served.files.map(({ path, bytes }) => ({ path, size: bytes.length }));
    answer(NeighbourReply.encode({ files: { files } }).finish());
  });
  socket.on('piece', (bytes: Uint8Array, answer: (bytes: Uint8Array) => void) => {
    asked.push('piece');
    answer(NeighbourReply.encode({ data: Buffer.alloc(PieceQuery.decode(bytes).size, 0x20) }).finish());
  });
  const third = await packed('3');
  served.files = third.files;
  const notice = PackageNotice.encode({
    tenant: 'ACME',
    digest: third.digest,
    vehicle: 'car-1',
    name: 'echo',
  }).finish();
  expect((await ask('package', notice)).refusal?.code).toBeGreaterThan(0);
  expect(asked).toContain('piece');
  expect(digestsOf(a)).not.toContain(third.digest);
  const foreign = PackageNotice.encode({
    tenant: 'Other',
    digest: third.digest,
    vehicle: 'car-1',
    name: 'echo',
  }).finish();
  expect((await ask('package', foreign)).refusal?.code).toBe(ErrorCode.PushForbidden);

  for (let i = 0; i < 2000; i++) socket.emit('files', Buffer.alloc(64, i), () => {});
  expect((await offload(await vehicle(a), echo.digest)).place).toBe('broker:rsu-1');
  await until('it was held back', async () => (await neighbourOf(a)).refused > 0);
});

async function caller({ broker }: Started, id = 'car-1', tenant = 'ACME') {
  const identity = await loadIdentity(await identityOf({ kind: 'vehicle', id, tenant }), 'vehicle');
  const link = new BrokerLink({
    target: { id: undefined, url: broker.url },
    identityTrouble: () => '',
    log: silentLog(),
  });
  link.start(identity);
  undo.push(() => link.stop('the test is over'));
  await until('it is connected', () => link.connected);
  const offloadAs = (taskDigest: string, name: string, input: string, keepMs = 60_000) =>
    link.send(
      {
        ...{ id: name, input: Buffer.from(input), isolation: 'any', taskDigest, priority: 500 },
        deadline: new Deadline(5000),
      },
      { serviceClass: 'normal', keepMs, durable: true },
    );
  const claim = async (name: string, from: string, to: string, budgetMs = 5000, as = identity) => {
    const token = makeClaimToken(as, { id: name, from, to });
    const bytes = ClaimRequest.encode({ id: name, broker: from, token, budgetMs, isolation: 'any' }).finish();
    return OffloadReply.decode((await link.ask('claim', bytes, 20_000, '')) as Uint8Array);
  };
  return { identity, link, offload: offloadAs, claim };
}

test('a vehicle that has moved on gets its result at the other broker, once under way and once kept', async () => {
  const b = await start('rsu-2', policyFor('rsu-1'));
  const a = await start('rsu-1', policyFor('rsu-2'), { 'rsu-2': b.broker.url });
  const echo = await packed('1');
  await (await vehicle(a)).push(echo.digest, echo.files);
  await until('it is there', () => digestsOf(b).includes(echo.digest));
  const [there, here] = [await caller(a), await caller(b)];
  // It sleeps for 127 ms, and is not kept at all.
  const running = there.offload(echo.digest, 'running-1', 's\x7f', 0);
  await until('it runs', () => a.broker.status().running === 1);
  const claimed = here.claim('running-1', 'rsu-1', 'rsu-2');
  expect((await claimed).result).toMatchObject({ broker: 'rsu-1' });
  await running;
  await there.offload(echo.digest, 'kept-1', 'eresult');
  const reply = await here.claim('kept-1', 'rsu-1', 'rsu-2');
  expect(reply.refusal).toBeFalsy();
  expect(Buffer.from(reply.result!.output!).toString()).toBe(
    (await there.offload(echo.digest, 'kept-1', 'eresult')).output.toString(),
  );
  expect(reply.result).toMatchObject({ broker: 'rsu-1', kept: true });
  // Asked for again at the new broker, it is not run there.
  const again = await here.offload(echo.digest, 'kept-1', 'eresult');
  expect(again).toMatchObject({ kept: true });
  expect(b.broker.status().packages[0]!.calls).toBe(0);
  expect(await neighbourOf(a)).toMatchObject({ results: { waiting: 0, bytes: 0 } });
});

test('claims and results wait while the other broker is away', async () => {
  const b = await start('rsu-2', policyFor('rsu-1'));
  const a = await start('rsu-1', policyFor('rsu-2'));
  const echo = await packed('1');
  await (await vehicle(a)).push(echo.digest, echo.files);
  const there = await caller(a);
  await there.offload(echo.digest, 'kept-2', 'eresult');
  const waiting = (await caller(b)).claim('kept-2', 'rsu-1', 'rsu-2', 15_000);
  const port = Number(new URL(a.broker.url).port);
  await a.broker.stop();
  // Started anew, with what it had on the disk, and now it knows where the other one is.
  await start('rsu-1', policyFor('rsu-2'), { 'rsu-2': b.broker.url }, { port, stateDir: a.stateDir });
  expect((await waiting).result).toMatchObject({ broker: 'rsu-1' });
});

test('nobody gets the result of another vehicle, nor without its word, nor what is not there', async () => {
  const b = await start('rsu-2', policyFor('rsu-1'));
  const a = await start('rsu-1', policyFor('rsu-2'), { 'rsu-2': b.broker.url });
  await until('they are connected', async () => (await neighbourOf(a)).state === 'connected');
  const echo = await packed('1');
  await (await vehicle(a)).push(echo.digest, echo.files);
  const there = await caller(a);
  await there.offload(echo.digest, 'kept-3', 'eresult');
  const liar = await caller(b, 'car-2');
  const other = await caller(b, 'car-1', 'Other');
  for (const reply of [
    await liar.claim('kept-3', 'rsu-1', 'rsu-2'),
    await liar.claim('kept-3', 'rsu-1', 'rsu-2', 5000, there.identity),
    await other.claim('kept-3', 'rsu-1', 'rsu-2'),
    await (await caller(b)).claim('kept-4', 'rsu-1', 'rsu-2'),
    await (await caller(b)).claim('kept-3', 'rsu-9', 'rsu-2'),
    await (await caller(b)).claim('kept-3', 'rsu-1', 'rsu-9'),
  ]) {
    expect(reply.refusal?.code).toBeGreaterThan(0);
    expect(reply.result).toBeFalsy();
  }
  // The policy of the one that has it says who may ask.
  await a.change(policyFor('rsu-2', '[packages]'));
  const late = await (await caller(b)).claim('kept-3', 'rsu-1', 'rsu-2');
  expect(late.refusal?.code).toBe(ErrorCode.ResultNotKept);
});
