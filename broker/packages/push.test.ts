import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { Agent } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { io, type Socket } from 'socket.io-client';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { getControl } from '../../shared/api/control-client.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import { silentLog } from '../../shared/base/log.ts';
import { type Credentials, createAuthority, issueCertificate, type Subject } from '../../shared/identity/authority.ts';
import { writeIdentity } from '../../shared/identity/files.ts';
import { loadIdentity } from '../../shared/identity/x509-identity.ts';
import { kerbside } from '../../shared/protocol/generated/v2e.js';
import { v2eParser } from '../../shared/protocol/v2e-parser.ts';
import { digestOf } from '../../shared/task-package/format.ts';
import {
  type PackageFile,
  readPackageFiles,
  readSignatures,
  readTaskPackage,
} from '../../shared/task-package/reader.ts';
import { listSignatures, signTaskPackage } from '../../shared/task-package/signature.ts';
import { createSigner, type Signer } from '../../shared/task-package/signer.ts';
import { addSignature, buildTaskPackage } from '../../shared/task-package/writer.ts';
import { BrokerClient } from '../../shared/v2e-client/broker-client.ts';
import { noThread } from '../../test/support/broker/no-thread.ts';
import { type FakeImage, fakeImage } from '../../test/support/fake-image.ts';
import { FakeTender } from '../../test/support/fake-tender.ts';
import { type BrokerLimits, DEFAULT_LIMITS, type PushConfig } from '../config.ts';
import { type RunningBroker, startBroker } from '../main.ts';
import { DEFAULT_PUSH_LIMITS, type PushLimits } from './push-limits.ts';

const { OffloadRequest, OffloadReply, PushRequest, PushReply, ServiceAnnouncement } = kerbside.v2e;
type Reply = ReturnType<typeof OffloadReply.decode>;
type PushAnswer = ReturnType<typeof PushReply.decode>;

let root: string;
let authority: Credentials;
let brokerIdentity: string;
let acme: string;
let sibling: string;
let other: string;
let signer: Signer;
let stranger: Signer;
let next = 0;
const fresh = () => join(root, `d${next++}`);
const undo: (() => unknown)[] = [];

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'kerb-push-'));
  authority = await createAuthority('Test CA');
  const identity = async (subject: Subject) => {
    const dir = fresh();
    await writeIdentity(dir, await issueCertificate(authority, subject), authority.certificate);
    return dir;
  };
  brokerIdentity = await identity({ kind: 'broker', id: 'rsu-1', hosts: [] });
  acme = await identity({ kind: 'vehicle', id: 'car-1', tenant: 'ACME' });
  sibling = await identity({ kind: 'vehicle', id: 'car-3', tenant: 'ACME' });
  other = await identity({ kind: 'vehicle', id: 'car-2', tenant: 'Other' });
  signer = await createSigner(join(root, 'signer'), 'maker');
  stranger = await createSigner(join(root, 'stranger'), 'stranger');
});
afterAll(() => rmSync(root, { recursive: true, force: true }));
afterEach(async () => {
  for (let step = undo.pop(); step !== undefined; step = undo.pop()) await step();
});

interface Options {
  readonly stateDir?: string;
  readonly packagesDir?: string;
  /** null: nobody may push. */
  readonly push?: Partial<PushConfig> | null;
  readonly pushLimits?: Partial<PushLimits>;
  readonly limits?: Partial<BrokerLimits>;
  readonly trustDir?: string | null;
}

async function start(options: Options = {}) {
  const stateDir = options.stateDir ?? fresh();
  const packagesDir = options.packagesDir ?? fresh();
  mkdirSync(packagesDir, { recursive: true });
  const apiSocket = join(root, `s${next++}`);
  const limits = { ...DEFAULT_PUSH_LIMITS, ...options.pushLimits };
  const push = options.push === null ? undefined : { tenants: ['ACME'], limits, maxInput: 65_536, ...options.push };
  const broker = await startBroker(
    {
      id: 'rsu-1',
      listen: { host: '127.0.0.1', port: 0 },
      identityDir: brokerIdentity,
      packagesDir,
      trustDir: options.trustDir === null ? undefined : join(root, 'signer', 'public'),
      stateDir,
      apiSocket,
      isolation: 'process',
      prestart: 'all',
      limits: { ...DEFAULT_LIMITS, maxTendersPerTask: 1, ...options.limits },
      ...(push === undefined ? {} : { push }),
    },
    { log: silentLog(), runThread: noThread, createTender: () => new FakeTender() },
  );
  undo.push(() => broker.stop());
  return { broker, stateDir, apiSocket, pushed: () => readdirSync(join(stateDir, 'pushed')) };
}

async function client(broker: RunningBroker, identityDir = acme, signal?: AbortSignal): Promise<BrokerClient> {
  const identity = await loadIdentity(identityDir, 'vehicle');
  const made = new BrokerClient({ url: broker.url, identity, brokerId: 'rsu-1', ...(signal ? { signal } : {}) });
  undo.push(() => made.close());
  await made.connect();
  return made;
}

/** A client of its own making, as a stranger would write it. */
async function raw(broker: RunningBroker, identityDir = acme): Promise<Socket> {
  const identity = await loadIdentity(identityDir, 'vehicle');
  const socket = io(broker.url, {
    path: '/v2e',
    transports: ['websocket'],
    parser: v2eParser,
    agent: new Agent(identity.clientOptions('rsu-1')) as unknown as string,
    reconnection: false,
    forceNew: true,
  });
  undo.push(() => socket.disconnect());
  await new Promise((resolve, reject) => {
    socket.once('hello', resolve);
    socket.once('connect_error', reject);
  });
  return socket;
}

function send(socket: Socket, step: Uint8Array | Parameters<typeof PushRequest.encode>[0]): Promise<PushAnswer> {
  const bytes = step instanceof Uint8Array ? step : PushRequest.encode(step).finish();
  return new Promise((resolve, reject) => {
    socket.once('disconnect', () => reject(new Error('disconnected')));
    socket.emit('push', bytes, (answer: Uint8Array) => resolve(PushReply.decode(answer)));
  });
}

function heard(socket: Socket, event: 'hello' | 'disconnect'): Promise<unknown> {
  return new Promise((resolve) => socket.once(event, resolve));
}

let nextId = 0;
function offload(socket: Socket, task: string, input: string | Buffer = 'e'): Promise<Reply> {
  const request = { id: `o${nextId++}`, taskDigest: task, input: Buffer.from(input), budgetMs: 5000, priority: 0 };
  return new Promise((resolve) => {
    socket.emit('offload', OffloadRequest.encode(request).finish(), (bytes: Uint8Array) =>
      resolve(OffloadReply.decode(bytes)),
    );
  });
}

interface Package {
  readonly dir: string;
  readonly digest: string;
  readonly files: readonly PackageFile[];
}

/** Signed by `by`; null: by nobody. */
async function packed(
  options: FakeImage = {},
  by: Signer | null = signer,
  days?: number,
  now?: number,
): Promise<Package> {
  return await packedImage(fakeImage(options), by, days, now);
}

async function packedImage(image: Buffer, by: Signer | null = signer, days?: number, now?: number): Promise<Package> {
  const dir = fresh();
  const digest = await buildTaskPackage(dir, { images: [image], version: '1', isolation: 'any' });
  const found = await readTaskPackage(dir);
  if (by !== null) await signTaskPackage(found, by, days, now);
  return { dir, digest, files: await readPackageFiles(found) };
}

const sizeOf = ({ files }: Package) => files.reduce((sum, { bytes }) => sum + bytes.length, 0);
const openStep = ({ digest, files }: Package) => ({
  open: { digest, files: files.map(({ path, bytes }) => ({ path, size: bytes.length })) },
});

describe('a push', () => {
  test('is stored, announced to its tenant, served at once, and still there after a restart', async () => {
    const { broker, stateDir, apiSocket, pushed } = await start();
    const [vehicle, foreign] = [await raw(broker, sibling), await raw(broker, other)];
    const [announced, told] = [heard(vehicle, 'hello'), heard(foreign, 'hello')];
    const echo = await packed();
    expect((await offload(vehicle, echo.digest)).refusal?.code).toBe(ErrorCode.UnknownPackage);
    const pusher = await client(broker);
    const progress: number[] = [];
    expect(await pusher.push(echo.digest, echo.files, (sent) => progress.push(sent))).toBe('STORED');
    expect(progress.at(-1)).toBe(sizeOf(echo));
    const { tasks } = ServiceAnnouncement.decode((await announced) as Uint8Array);
    expect(tasks).toMatchObject([{ digest: echo.digest, name: 'echo', maxInput: 65_536 }]);
    expect(ServiceAnnouncement.decode((await told) as Uint8Array).tasks).toEqual([]);
    expect((await offload(vehicle, echo.digest, Buffer.alloc(65_536, 'e'))).result?.output).toHaveLength(65_536);
    expect(pushed()).toEqual([echo.digest.slice(7)]);
    const origin = { tenant: 'ACME', vehicle: 'car-1', bytes: sizeOf(echo), at: expect.stringMatching(/^20.*Z$/) };
    expect(broker.status().packages).toMatchObject([{ digest: echo.digest, pushed: origin }]);
    const metrics = await getControl(apiSocket, '/metrics');
    for (const line of [
      'broker_pushes_total{tenant="ACME",result="stored"} 1',
      'broker_pushed_packages{tenant="ACME"} 1',
      `broker_pushed_bytes{tenant="ACME"} ${sizeOf(echo)}`,
    ]) {
      expect(metrics).toContain(line);
    }
    expect(await pusher.push(echo.digest, echo.files)).toBe('ALREADY_THERE');
    await broker.stop();

    const again = await start({ stateDir, push: null });
    expect(again.broker.status()).toMatchObject({ packages: [{ digest: echo.digest, pushed: origin }], rejected: [] });
    expect((await offload(await raw(again.broker), echo.digest)).result).toBeTruthy();
  });

  test('of a package in many pieces, and of one from the packages directory', async () => {
    const packagesDir = fresh();
    const there = await packed({ name: 'there' });
    mkdirSync(packagesDir);
    const digest = await buildTaskPackage(join(packagesDir, 'there'), {
      images: [fakeImage({ name: 'there' })],
      version: '1',
      isolation: 'any',
    });
    await signTaskPackage(await readTaskPackage(join(packagesDir, 'there')), signer);
    const { broker } = await start({ packagesDir });
    const pusher = await client(broker);
    expect(await pusher.push(digest, there.files)).toBe('ALREADY_THERE');
    const big = await packed({ filler: 'x'.repeat(1_000_000) });
    expect(await pusher.push(big.digest, big.files)).toBe('STORED');
    expect((await offload(await raw(broker), big.digest)).result).toBeTruthy();
  });

  test('of the same package by two at the same time: both are told that it is there', async () => {
    const { broker, pushed } = await start();
    const big = await packed({ filler: 'x'.repeat(300_000) });
    const outcomes = await Promise.all(
      [await client(broker), await client(broker)].map((one) => one.push(big.digest, big.files)),
    );
    expect(outcomes.sort()).toEqual(['ALREADY_THERE', 'STORED']);
    await vi.waitFor(() => expect(pushed()).toEqual([big.digest.slice(7)]));
  });
});

describe('a signature', () => {
  test('is renewed by pushing the same package again, while it is served', async () => {
    const limits = { maxTenantPackages: 1 };
    const { broker, stateDir, pushed } = await start({ pushLimits: limits, push: { tenants: ['ACME', 'Other'] } });
    const vehicle = await raw(broker);
    const pusher = await client(broker);
    const day = 86_400_000;
    const old = await packed({}, signer, 1, Date.now() - day + 60_000);
    await pusher.push(old.digest, old.files);
    const runs = offload(vehicle, old.digest, Buffer.from([0x73, 200]));
    const renewed = await packed({}, signer, 30);
    expect(renewed.digest).toBe(old.digest);
    expect(await pusher.push(old.digest, renewed.files)).toBe('STORED');
    expect(await pusher.push(old.digest, renewed.files)).toBe('ALREADY_THERE');
    // Another tenant is told nothing of it, and has it for itself as well.
    expect(await (await client(broker, other)).push(old.digest, renewed.files)).toBe('STORED');
    expect(await (await client(broker, other)).push(old.digest, renewed.files)).toBe('ALREADY_THERE');
    expect((await runs).result).toBeTruthy();
    expect(broker.status().packages).toMatchObject([{ digest: old.digest, calls: 1 }]);
    expect(pushed()).toEqual([old.digest.slice(7)]);
    const kept = await readTaskPackage(join(stateDir, 'pushed', old.digest.slice(7), 'package'));
    const [signature, ...more] = await listSignatures(kept);
    expect(more).toEqual([]);
    expect(signature!.expiresAt.getTime()).toBeGreaterThan(Date.now() + 29 * day);
    // A worse one does not take the place of a good one.
    const foreign = await packed({}, stranger);
    await expect(pusher.push(old.digest, foreign.files)).rejects.toMatchObject({ code: ErrorCode.TaskSignerUnknown });
    expect(await listSignatures(kept)).toEqual([signature]);
  });

  test('and a crash between the old and the new one leaves the old one', async () => {
    const { broker, stateDir } = await start();
    const echo = await packed();
    await (await client(broker)).push(echo.digest, echo.files);
    await broker.stop();
    const dir = join(stateDir, 'pushed');
    renameSync(join(dir, echo.digest.slice(7)), join(dir, `.replaced-${echo.digest.slice(7)}`));
    mkdirSync(join(dir, '.incoming-0123'));
    const again = await start({ stateDir });
    expect(again.broker.status()).toMatchObject({ packages: [{ digest: echo.digest }], rejected: [] });
    expect(again.pushed()).toEqual([echo.digest.slice(7)]);
    await again.broker.stop();
    mkdirSync(join(dir, `.replaced-${echo.digest.slice(7)}`));
    await start({ stateDir });
    expect(again.pushed()).toEqual([echo.digest.slice(7)]);
  });
});

describe('refused, and nothing of it kept or run', () => {
  const cases: [string, () => Promise<Package>, ErrorCode, RegExp, Options?][] = [
    ['unsigned', () => packed({}, null), ErrorCode.TaskUnsigned, /is not signed/],
    ['signed by a stranger', () => packed({}, stranger), ErrorCode.TaskSignerUnknown, /not trusted here/],
    [
      'signed for a time that is over',
      () => packed({}, signer, 1, Date.now() - 2 * 86_400_000),
      ErrorCode.TaskSignatureExpired,
      /expired at/,
    ],
    [
      'with the signature of another package',
      withForeignSignature,
      ErrorCode.TaskSignatureInvalid,
      /of another package/,
    ],
    [
      'one bit flipped',
      flipped,
      ErrorCode.TaskPackageDigestMismatch,
      /^broker rsu-1: the pushed package\/blobs\/.* is damaged/,
    ],
    [
      'another package than announced',
      async () => ({ ...(await packed()), digest: `sha256:${'0'.repeat(64)}` }),
      ErrorCode.TaskPackageDigestMismatch,
      /the pushed package is the package sha256:.* not sha256:000/,
    ],
    ['for another machine', forAnotherMachine, ErrorCode.WrongArchitecture, /is for machine 243/],
    ['without its index', without('index.json'), ErrorCode.BadTaskPackage, /the pushed package\/index.json is missing/],
    ['without its image', without('blobs/'), ErrorCode.BadTaskPackage, /is missing/],
    [
      'with more memory than a tender may take',
      () => packed({ memory: 64 << 20 }),
      ErrorCode.TenderUnavailable,
      /--tender-memory/,
      { limits: { tenderMemory: 8 << 20 } },
    ],
    [
      'with larger inputs than the broker was started for',
      () => packed({ maxInput: 65_537 }),
      ErrorCode.TaskTooLarge,
      /takes inputs of 65537 bytes; this broker was started for 65536 \(--push-input\)/,
    ],
    [
      'larger than a package may be',
      () => packed({ filler: 'x'.repeat(5000) }),
      ErrorCode.TaskTooLarge,
      /this broker takes 5000 \(--push-size\)/,
      { pushLimits: { maxPackageBytes: 5000 } },
    ],
  ];
  test.each(cases)('%s', async (_, make, code, sentence, options) => {
    const { broker, pushed, stateDir } = await start(options);
    const pusher = await client(broker);
    const bad = await make();
    await expect(pusher.push(bad.digest, bad.files)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(sentence),
    });
    await expect(pusher.push(bad.digest, bad.files)).rejects.not.toThrow(stateDir);
    expect(pushed()).toEqual([]);
    expect(broker.status()).toMatchObject({ packages: [], errors: [{ source: 'vehicle car-1', code }] });
    // The same connection goes on.
    const good = await packed();
    if (options === undefined) expect(await pusher.push(good.digest, good.files)).toBe('STORED');
  });

  async function withForeignSignature(): Promise<Package> {
    const one = await packed();
    const changed = await packed({ filler: 'x' }, null);
    const signatures = await readSignatures(await readTaskPackage(one.dir));
    await addSignature(await readTaskPackage(changed.dir), signatures);
    return { ...changed, files: await readPackageFiles(await readTaskPackage(changed.dir)) };
  }
  async function flipped(): Promise<Package> {
    const one = await packed({ filler: 'filler' });
    const files = one.files.map(({ path, bytes }) => ({ path, bytes: Buffer.from(bytes) }));
    const image = files.reduce((a, b) => (b.bytes.includes('filler') ? b : a));
    image.bytes[image.bytes.length - 1]! ^= 1;
    return { ...one, files };
  }
  /** Whole in itself: every digest is that of the image as it is now. */
  async function forAnotherMachine(): Promise<Package> {
    const one = await packed();
    const image = Buffer.from(fakeImage());
    image.writeUInt16LE(243, 18); // EM_RISCV
    let files = one.files.map((file) => (file.bytes.equals(fakeImage()) ? { ...file, bytes: image } : file));
    for (;;) {
      const stale = files.find(({ path, bytes }) => /^blobs/.test(path) && !path.endsWith(digestOf(bytes).slice(7)));
      if (stale === undefined) return { ...one, files };
      const [from, to] = [stale.path.slice(-64), digestOf(stale.bytes).slice(7)];
      files = files.map(({ path, bytes }) => ({
        path: path.replace(from, to),
        bytes: Buffer.from(bytes.toString('latin1').replaceAll(from, to), 'latin1'),
      }));
    }
  }
  function without(start: string) {
    return async (): Promise<Package> => {
      const one = await packed();
      const gone = one.files.find(({ path }) => path.startsWith(start));
      return { ...one, files: one.files.filter((file) => file !== gone) };
    };
  }

  test('a tenant that may not push, or when nobody may: it is said how to allow it', async () => {
    const echo = await packed();
    const { broker, pushed } = await start();
    await expect((await client(broker, other)).push(echo.digest, echo.files)).rejects.toMatchObject({
      code: ErrorCode.PushForbidden,
      message: expect.stringMatching(/takes no pushes from tenant Other; .*--push-from "Other"/),
    });
    expect(pushed()).toEqual([]);
    const closed = await start({ push: null });
    await expect((await client(closed.broker)).push(echo.digest, echo.files)).rejects.toMatchObject({
      code: ErrorCode.PushForbidden,
      message: expect.stringMatching(/this broker takes no pushes; .*--push-from "ACME"/),
    });
    await expect((await client(closed.broker)).remove(echo.digest)).rejects.toMatchObject({
      code: ErrorCode.PushForbidden,
    });
  });

  test('pushes without trust: the broker does not start', async () => {
    await expect(start({ trustDir: null })).rejects.toMatchObject({
      code: ErrorCode.BadConfig,
      message: expect.stringContaining('--trust'),
    });
  });

  test('a disk that fails is no fault of the client, and is told as such', async () => {
    const { broker, stateDir } = await start();
    rmSync(join(stateDir, 'pushed'), { recursive: true });
    writeFileSync(join(stateDir, 'pushed'), 'in the way');
    const echo = await packed();
    await expect((await client(broker)).push(echo.digest, echo.files)).rejects.toMatchObject({
      code: ErrorCode.PackageNotStored,
      message: expect.stringMatching(/could not store the package \(E[A-Z]+\)/),
    });
  });
});

describe('malformed messages', () => {
  const digest = `sha256:${'a'.repeat(64)}`;
  const file = (path: string, size = 2) => ({ path, size });
  const open = (...files: { path: string; size: number }[]) => ({ open: { digest, files } });
  test.each<[string, Parameters<typeof send>[1], RegExp]>([
    ['no protobuf', Buffer.from('\xff\xff\xff', 'latin1'), /not a valid PushRequest/],
    ['nothing', Buffer.alloc(0), /no step/],
    ['no digest', { open: { digest: 'sha256:12', files: [file('index.json')] } }, /its digest is no/],
    ['a way out of the directory', open(file('../../evil')), /not a file of a task package/],
    ['an absolute path', open(file('/etc/passwd')), /not a file of a task package/],
    ['a blob that is none', open(file('blobs/sha256/../../x')), /not a file of a task package/],
    ['a file twice', open(file('index.json'), file('index.json')), /in it twice/],
    ['an empty file', open(file('index.json', 0)), /index.json is empty/],
    ['no files', open(), /0 files/],
    ['too many files', open(...Array.from({ length: 129 }, (_, i) => file(`${i}`))), /129 files/],
    ['data that nobody waits for', { data: Buffer.from('x') }, /no push that it belongs to/],
    ['a removal of nothing', { remove: 'x' }, /its digest is no/],
    ['a message above the limit', Buffer.alloc(70_000), /70000 bytes; the limit is 65536/],
  ])('%s', async (_, step, sentence) => {
    const { broker, pushed } = await start();
    const socket = await raw(broker);
    const { refusal } = await send(socket, step);
    expect(refusal).toMatchObject({ code: ErrorCode.BadPushRequest, message: expect.stringMatching(sentence) });
    expect(pushed()).toEqual([]);
    const good = await packed();
    expect((await send(socket, openStep(good))).state).toBe(0);
  });

  test.each<[string, Parameters<typeof send>[1], RegExp]>([
    ['more than was announced', { data: Buffer.alloc(60_000) }, /more than the/],
    ['an empty piece', { data: Buffer.alloc(0) }, /is empty/],
    ['another one', open(file('index.json')), /another one is under way/],
  ])('in the middle of a push: %s', async (_, step, sentence) => {
    const { broker, pushed } = await start();
    const socket = await raw(broker);
    const good = await packed();
    expect((await send(socket, openStep(good))).state).toBe(0);
    expect(pushed()).toEqual([expect.stringMatching(/^\.incoming-/)]);
    const answers = await Promise.all([send(socket, step), send(socket, { data: Buffer.from('late') })]);
    for (const { refusal } of answers) expect(refusal?.message).toMatch(sentence);
    expect(pushed()).toEqual([]);
    expect(broker.status().errors).toHaveLength(1);
  });

  test('more at once than may be unacknowledged: the push is refused, and the broker lives', async () => {
    const { broker, pushed } = await start();
    const socket = await raw(broker);
    const big = await packed({ filler: 'x'.repeat(100_000) });
    await send(socket, openStep(big));
    const answers = await Promise.all(Array.from({ length: 100 }, () => send(socket, { data: Buffer.alloc(1000) })));
    expect(answers.map(({ refusal }) => refusal?.message)).toContainEqual(
      expect.stringMatching(/more than 16 messages/),
    );
    expect(pushed()).toEqual([]);
    expect((await send(socket, openStep(big))).state).toBe(0);
  });

  test('what is no message at all ends the connection', async () => {
    const { broker } = await start();
    for (const args of [['text', () => {}], [], [Buffer.from('x')]]) {
      const socket = await raw(broker);
      const gone = heard(socket, 'disconnect');
      socket.emit('push', ...args);
      await gone;
    }
  });
});

describe('what a tenant may take', () => {
  test('packages, bytes and pushes at the same time are counted; what is removed counts no more', async () => {
    const [one, two, three] = [
      await packed({ filler: '1' }),
      await packed({ filler: '2' }),
      await packed({ filler: '3' }),
    ];
    const { broker } = await start({ pushLimits: { maxTenantPackages: 2 } });
    const pusher = await client(broker);
    await pusher.push(one.digest, one.files);
    await pusher.push(two.digest, two.files);
    await expect(pusher.push(three.digest, three.files)).rejects.toMatchObject({
      code: ErrorCode.PushQuotaSpent,
      message: expect.stringMatching(/may keep 2 packages here \(--push-packages\); remove one/),
    });
    await pusher.remove(one.digest);
    expect(await pusher.push(three.digest, three.files)).toBe('STORED');

    const tight = await start({ pushLimits: { maxTenantBytes: sizeOf(one) + 10 } });
    const other = await client(tight.broker);
    await other.push(one.digest, one.files);
    await expect(other.push(two.digest, two.files)).rejects.toMatchObject({
      code: ErrorCode.PushQuotaSpent,
      message: expect.stringMatching(/\(--push-quota\)/),
    });
    // After a restart as before it.
    await tight.broker.stop();
    const again = await start({ stateDir: tight.stateDir, pushLimits: { maxTenantBytes: sizeOf(one) + 10 } });
    await expect((await client(again.broker)).push(two.digest, two.files)).rejects.toMatchObject({
      code: ErrorCode.PushQuotaSpent,
    });
  });

  test('open pushes count too, and give back what they took however they end', async () => {
    const [one, two] = [await packed({ filler: '1' }), await packed({ filler: '2' })];
    const { broker, pushed, apiSocket } = await start({ pushLimits: { maxTenantPushes: 1, stallMs: 300 } });
    const first = await raw(broker);
    expect((await send(first, openStep(one))).state).toBe(0);
    const second = await raw(broker);
    expect((await send(second, openStep(two))).refusal).toMatchObject({
      code: ErrorCode.TooManyFromTenant,
      retryAfterMs: 1000,
    });
    // Gone in the middle.
    first.disconnect();
    await vi.waitFor(() => expect(pushed()).toEqual([]));
    // Silent in the middle.
    expect((await send(second, openStep(two))).state).toBe(0);
    await vi.waitFor(() => expect(pushed()).toEqual([]));
    expect((await send(second, { data: Buffer.from('x') })).refusal?.message).toMatch(/nothing came for 300 ms/);
    // Cancelled in the middle.
    const cancel = new AbortController();
    const third = await client(broker, acme, cancel.signal);
    const big = await packed({ filler: 'x'.repeat(300_000) });
    const cancelled = third.push(big.digest, big.files, () => cancel.abort());
    await expect(cancelled).rejects.toMatchObject({ code: ErrorCode.Cancelled });
    third.close();
    await vi.waitFor(() => expect(pushed()).toEqual([]));
    expect(await getControl(apiSocket, '/metrics')).toContain(
      'broker_pushes_total{tenant="ACME",result="broken_off"} 2',
    );
    expect(await (await client(broker)).push(two.digest, two.files)).toBe('STORED');
  });
});

describe('a removal', () => {
  test('lets the tenders go, and the package may come again', async () => {
    const { broker, stateDir, pushed } = await start();
    const echo = await packed();
    const twin = await packed({}, signer);
    expect(twin.digest).toBe(echo.digest);
    const pusher = await client(broker);
    await pusher.push(echo.digest, echo.files);
    const vehicle = await raw(broker, sibling);
    await offload(vehicle, echo.digest);
    expect(readdirSync(join(stateDir, 'images'))).toHaveLength(1);
    const announced = heard(vehicle, 'hello');
    await pusher.remove(echo.digest);
    expect(ServiceAnnouncement.decode((await announced) as Uint8Array).tasks).toEqual([]);
    expect((await offload(vehicle, echo.digest)).refusal?.code).toBe(ErrorCode.UnknownPackage);
    expect(broker.status().packages).toEqual([]);
    expect(pushed()).toEqual([]);
    expect(readdirSync(join(stateDir, 'images'))).toEqual([]);
    await expect(pusher.remove(echo.digest)).rejects.toMatchObject({ code: ErrorCode.UnknownPackage });
    expect(await pusher.push(echo.digest, echo.files)).toBe('STORED');
    expect((await offload(vehicle, echo.digest)).result).toBeTruthy();
  });

  test('ends what waits and not what runs', async () => {
    const { broker } = await start();
    const echo = await packed();
    const pusher = await client(broker);
    await pusher.push(echo.digest, echo.files);
    const vehicle = await raw(broker, sibling);
    await offload(vehicle, echo.digest);
    const runs = offload(vehicle, echo.digest, Buffer.from([0x73, 250]));
    const waits = offload(vehicle, echo.digest);
    await vi.waitFor(() => expect(broker.status()).toMatchObject({ queued: 1, packages: [{ tender: 'Busy' }] }));
    await pusher.remove(echo.digest);
    expect((await waits).refusal?.code).toBe(ErrorCode.UnknownPackage);
    // Again at once: a pool of its own, beside the one whose last call still runs.
    await pusher.push(echo.digest, echo.files);
    expect((await offload(vehicle, echo.digest)).result).toBeTruthy();
    expect((await runs).result).toBeTruthy();
  });

  test('is for the tenant that pushed it, and not for what lies in the packages directory', async () => {
    const packagesDir = fresh();
    const fixed = await packed({ name: 'fixed' });
    mkdirSync(packagesDir);
    await buildTaskPackage(join(packagesDir, 'fixed'), {
      images: [fakeImage({ name: 'fixed' })],
      version: '1',
      isolation: 'any',
    });
    await signTaskPackage(await readTaskPackage(join(packagesDir, 'fixed')), signer);
    const { broker } = await start({ packagesDir, push: { tenants: ['ACME', 'Other'] } });
    const echo = await packed();
    await (await client(broker)).push(echo.digest, echo.files);
    const refused = { code: ErrorCode.PushForbidden, message: expect.stringMatching(/has not pushed/) };
    // Another tenant does not even see it.
    await expect((await client(broker, other)).remove(echo.digest)).rejects.toMatchObject({
      code: ErrorCode.UnknownPackage,
    });
    await expect((await client(broker)).remove(fixed.digest)).rejects.toMatchObject(refused);
    expect(broker.status().packages).toHaveLength(2);
  });
});

describe('what lies on the disk', () => {
  test('half a package is cleaned away; a damaged one is named, and replaced by the next push', async () => {
    const { broker, stateDir, pushed } = await start();
    const echo = await packed();
    await (await client(broker)).push(echo.digest, echo.files);
    await broker.stop();
    const dir = join(stateDir, 'pushed');
    mkdirSync(join(dir, '.incoming-0123', 'package'), { recursive: true });
    mkdirSync(join(dir, '.removed-0123'));
    const [blob] = readdirSync(join(dir, echo.digest.slice(7), 'package', 'blobs', 'sha256'));
    writeFileSync(join(dir, echo.digest.slice(7), 'package', 'blobs', 'sha256', blob!), 'damaged');
    const again = await start({ stateDir });
    expect(pushed()).toEqual([echo.digest.slice(7)]);
    expect(again.broker.status()).toMatchObject({ packages: [], rejected: [{ path: expect.stringContaining(dir) }] });
    expect(await (await client(again.broker)).push(echo.digest, echo.files)).toBe('STORED');
    expect(again.broker.status()).toMatchObject({ packages: [{ digest: echo.digest }], rejected: [] });
    expect(pushed()).toEqual([echo.digest.slice(7)]);
    await again.broker.stop();
    expect((await start({ stateDir })).broker.status()).toMatchObject({ packages: [{ name: 'echo' }], rejected: [] });
  });

  test('one that is rejected counts for whoever has pushed it, who may remove it', async () => {
    const limits = { maxTenantPackages: 1 };
    const { broker, stateDir, pushed } = await start({ pushLimits: limits });
    const [one, two] = [await packed({ filler: '1' }), await packed({ filler: '2' })];
    await (await client(broker)).push(one.digest, one.files);
    await broker.stop();
    rmSync(join(stateDir, 'pushed', one.digest.slice(7), 'package', 'index.json'));
    const again = await start({ stateDir, pushLimits: limits, push: { tenants: ['ACME', 'Other'] } });
    const pusher = await client(again.broker);
    await expect(pusher.push(two.digest, two.files)).rejects.toMatchObject({ code: ErrorCode.PushQuotaSpent });
    await expect((await client(again.broker, other)).remove(one.digest)).rejects.toMatchObject({
      code: ErrorCode.UnknownPackage,
    });
    await pusher.remove(one.digest);
    expect(again.broker.status()).toMatchObject({ packages: [], rejected: [] });
    expect(pushed()).toEqual([]);
    expect(await pusher.push(two.digest, two.files)).toBe('STORED');
  });

  test('one under the name of another, or whose origin cannot be read, is not served', async () => {
    const { broker, stateDir } = await start();
    const [one, two] = [await packed({ filler: '1' }), await packed({ filler: '2' })];
    const pusher = await client(broker);
    await pusher.push(one.digest, one.files);
    await pusher.push(two.digest, two.files);
    await broker.stop();
    const entry = (name: string) => join(stateDir, 'pushed', name.slice(7));
    rmSync(join(entry(two.digest), 'package'), { recursive: true });
    await buildTaskPackage(join(entry(two.digest), 'package'), {
      images: [fakeImage()],
      version: '9',
      isolation: 'any',
    });
    await signTaskPackage(await readTaskPackage(join(entry(two.digest), 'package')), signer);
    writeFileSync(join(entry(one.digest), 'origin.json'), '{"tenant":"ACME"}');
    const { packages, rejected } = (await start({ stateDir })).broker.status();
    expect(packages).toEqual([]);
    const reasons = rejected?.map(({ reason }) => reason).join('\n');
    expect(reasons).toMatch(/is the package sha256:.*, not sha256:/);
    expect(reasons).toMatch(/who has pushed it is not known/);
    expect(rejected).toHaveLength(2);
  });

  test('a broker that stops in the middle of a push leaves nothing of it', async () => {
    const { broker, stateDir } = await start();
    const socket = await raw(broker);
    expect((await send(socket, openStep(await packed()))).state).toBe(0);
    await broker.stop();
    expect(readdirSync(join(stateDir, 'pushed'))).toEqual([]);
    expect(existsSync(join(stateDir, 'pushed'))).toBe(true);
  });
});
