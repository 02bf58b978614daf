import { createPrivateKey, webcrypto } from 'node:crypto';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { Agent, get } from 'node:https';
import { connect as netConnect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as tlsConnect } from 'node:tls';
import { io, type Socket } from 'socket.io-client';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { getControl } from '../shared/api/control-client.ts';
import { ErrorCode, KerbError } from '../shared/base/errors.ts';
import { silentLog } from '../shared/base/log.ts';
import { type Credentials, createAuthority, issueCertificate, type Subject } from '../shared/identity/authority.ts';
import { writeIdentity } from '../shared/identity/files.ts';
import { loadIdentity } from '../shared/identity/x509-identity.ts';
import { kerbside } from '../shared/protocol/generated/v2e.js';
import { v2eParser } from '../shared/protocol/v2e-parser.ts';
import { readSignatures, readTaskPackage, type TaskPackage } from '../shared/task-package/reader.ts';
import { signTaskPackage } from '../shared/task-package/signature.ts';
import { createSigner } from '../shared/task-package/signer.ts';
import { addSignature, buildTaskPackage } from '../shared/task-package/writer.ts';
import { GatedTender } from '../test/support/broker/gated-tender.ts';
import { noThread } from '../test/support/broker/no-thread.ts';
import { fakeImage } from '../test/support/fake-image.ts';
import { FakeTender } from '../test/support/fake-tender.ts';
import { type BrokerLimits, DEFAULT_LIMITS } from './config.ts';
import { type RunningBroker, startBroker } from './main.ts';
import type { WishedIsolation } from './tenders/process/tender.ts';

const { OffloadRequest, OffloadReply, ServiceAnnouncement, CancelRequest, CancelReply } = kerbside.v2e;
type Reply = ReturnType<typeof OffloadReply.decode>;

let root: string;
let authority: Credentials;
let packages: string;
let digest: string;
let next = 0;
const fresh = () => join(root, `d${next++}`);
const undo: (() => unknown)[] = [];

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'kerb-broker-'));
  authority = await createAuthority('Test CA');
  packages = fresh();
  digest = await buildTaskPackage(join(packages, 'echo'), { images: [fakeImage()], version: '1', isolation: 'any' });
});
afterAll(() => rmSync(root, { recursive: true, force: true }));
afterEach(async () => {
  vi.useRealTimers();
  for (let step = undo.pop(); step !== undefined; step = undo.pop()) await step();
});

async function identityDir(subject: Subject, issuer = authority): Promise<string> {
  const dir = fresh();
  await writeIdentity(dir, await issueCertificate(issuer, subject), issuer.certificate);
  return dir;
}
/** The same for all tests that leave it as it is. */
const shared = new Map<string, Promise<string>>();
function sharedIdentity(subject: Subject): Promise<string> {
  let dir = shared.get(subject.kind);
  if (dir === undefined) {
    dir = identityDir(subject);
    shared.set(subject.kind, dir);
  }
  return dir;
}
const vehicle = (id = 'car-1', tenant = 'ACME') => ({ kind: 'vehicle', id, tenant }) as const;
const brokerNamed = (id: string) => ({ kind: 'broker', id, hosts: [] }) as const;

interface Options {
  readonly limits?: Partial<BrokerLimits>;
  readonly packagesDir?: string;
  readonly trustDir?: string;
  readonly stateDir?: string;
  readonly identityDir?: string;
  readonly signal?: AbortSignal;
  readonly prestart?: 'all' | readonly string[];
  /** One for each life of a tender; plain ones afterwards. */
  readonly tenders?: FakeTender[];
  readonly isolation?: WishedIsolation;
}

async function start(options: Options = {}) {
  const stateDir = options.stateDir ?? fresh();
  const apiSocket = join(root, `s${next++}`);
  const made: FakeTender[] = [];
  const wishes: WishedIsolation[] = [];
  const broker = await startBroker(
    {
      id: 'rsu-1',
      listen: { host: '127.0.0.1', port: 0 },
      identityDir: options.identityDir ?? (await sharedIdentity(brokerNamed('rsu-1'))),
      packagesDir: options.packagesDir ?? packages,
      trustDir: options.trustDir,
      stateDir,
      apiSocket,
      isolation: options.isolation ?? 'process',
      prestart: options.prestart ?? 'all',
      // One tender of each, so that what follows what is certain; pools have tests of their own.
      limits: { ...DEFAULT_LIMITS, maxTendersPerTask: 1, ...options.limits },
    },
    {
      log: silentLog(),
      runThread: noThread,
      signal: options.signal,
      createTender: (_imagePath, _log, isolation) => {
        wishes.push(isolation);
        const tender = options.tenders?.[made.length] ?? new FakeTender();
        made.push(tender);
        return tender;
      },
    },
  );
  undo.push(() => broker.stop());
  return { broker, apiSocket, stateDir, tenders: made, wishes };
}

/** Its tender holds an input "h" until `release`, however late the machine is. */
async function startHolding() {
  const gate = Promise.withResolvers<void>();
  const { broker, tenders } = await start({ tenders: [new GatedTender(gate.promise)] });
  undo.push(gate.resolve);
  return { broker, tenders, release: gate.resolve };
}

const HELD = { input: Buffer.from('h'), budgetMs: 30_000 };

/** A client of its own making, as a stranger would write it. */
async function connect(broker: RunningBroker, dir?: string): Promise<Socket & { hello?: Uint8Array }> {
  const identity = await loadIdentity(dir ?? (await sharedIdentity(vehicle())), 'vehicle');
  return await connectWith(broker, new Agent(identity.clientOptions('rsu-1')));
}

async function connectWith(
  broker: RunningBroker,
  agent: Agent,
  auth: object = {},
): Promise<Socket & { hello?: Uint8Array }> {
  const socket: Socket & { hello?: Uint8Array } = io(broker.url, {
    path: '/v2e',
    transports: ['websocket'],
    parser: v2eParser,
    agent: agent as unknown as string,
    auth,
    reconnection: false,
    forceNew: true,
  });
  undo.push(() => socket.disconnect());
  await new Promise<void>((resolve, reject) => {
    socket.once('hello', (bytes: Uint8Array) => {
      socket.hello = bytes;
      resolve();
    });
    socket.once('connect_error', (error) => {
      const { description } = error as Error & { description?: { error?: Error } };
      reject(description?.error ?? error);
    });
  });
  return socket;
}

interface Wish {
  readonly isolation?: string;
  readonly id?: string;
  readonly input?: Uint8Array | string;
  readonly budgetMs?: number;
  readonly task?: string;
}

let nextId = 0;
function offload(socket: Socket, wish: Wish = {}): Promise<Reply> {
  const { id = `o${nextId++}`, input = 'e', budgetMs = 5000, task = digest, isolation = '' } = wish;
  const bytes = OffloadRequest.encode({
    id,
    taskDigest: task,
    input: Buffer.from(input),
    budgetMs,
    priority: 500,
    isolation,
  }).finish();
  return send(socket, bytes);
}
/** Past socket.io: what is given becomes one WebSocket message each. */
function sendRaw(socket: Socket, ...messages: (string | Buffer)[]): void {
  for (const message of messages) socket.io.engine.write(message);
}
function send(socket: Socket, payload: unknown): Promise<Reply> {
  return new Promise((resolve, reject) => {
    socket.once('disconnect', (reason) => reject(new Error(`disconnected: ${reason}`)));
    socket.emit('offload', payload, (bytes: Uint8Array) => resolve(OffloadReply.decode(bytes)));
  });
}

describe('an offload', () => {
  test('comes back with its output, where the time went, and who ran it', async () => {
    const { broker } = await start();
    const socket = await connect(broker);
    const input = Buffer.alloc(60_000, 'e');
    const reply = await offload(socket, { id: 'car-1/7', input });
    expect(reply.id).toBe('car-1/7');
    expect(Buffer.from(reply.result!.output!)).toEqual(input);
    expect(reply.result).toMatchObject({ isolation: 'process', broker: 'rsu-1', runMs: expect.closeTo(0.1) });
    expect(reply.heldMs).toBeGreaterThan(0);
    expect(broker.status()).toMatchObject({ clients: 1, queued: 0, offloads: { ok: 1, refused: 0, failed: 0 } });
  });

  test('that demands isolation vm is run where its task has it, and refused with its own code where not', async () => {
    const { broker } = await start({ tenders: [new FakeTender()] });
    const socket = await connect(broker);
    const refused = await offload(socket, { id: 'd', isolation: 'vm' });
    expect(refused.refusal).toMatchObject({ code: ErrorCode.IsolationUnavailable });
    expect(refused.refusal?.message).toMatch(/echo has isolation process here/);
    expect((await offload(socket, { id: 'd', isolation: 'any' })).result).toMatchObject({ isolation: 'process' });

    const withVm = await start({ tenders: [new FakeTender(undefined, 'vm')] });
    const other = await connect(withVm.broker);
    expect((await offload(other, { isolation: 'vm' })).result).toMatchObject({ isolation: 'vm' });
    expect((await offload(other)).result).toMatchObject({ isolation: 'vm' });
    expect(ServiceAnnouncement.decode(other.hello!).isolations).toEqual(['vm']);
  });

  test('that was admitted for a vm is not run by the process that took its place', async () => {
    const { broker } = await start({ tenders: [new FakeTender(undefined, 'vm'), new FakeTender()] });
    const socket = await connect(broker);
    const dies = offload(socket, { input: 'k' });
    const waits = offload(socket, { isolation: 'vm' });
    const free = offload(socket);
    expect((await dies).refusal).toMatchObject({ code: ErrorCode.TenderDied });
    expect((await waits).refusal).toMatchObject({ code: ErrorCode.IsolationUnavailable });
    expect((await free).result).toMatchObject({ isolation: 'process' });
  });

  test('the announcement says what can be asked for', async () => {
    const { broker } = await start();
    const { hello } = await connect(broker);
    expect(ServiceAnnouncement.decode(hello!).toJSON()).toEqual({
      version: 1,
      broker: 'rsu-1',
      tasks: [{ digest, name: 'echo', version: '1', maxInput: 65_536, maxOutput: 65_536 }],
      isolations: ['process'],
      maxInput: 65_536,
    });
  });

  test('many at once from two tenants all come back, each with its own input', async () => {
    const { broker, tenders } = await start();
    const sockets = [await connect(broker), await connect(broker, await identityDir(vehicle('car-2', 'Other')))];
    const inputs = Array.from({ length: 200 }, (_, i) => `e${i}`);
    const replies = await Promise.all(inputs.map((input, i) => offload(sockets[i % 2]!, { input })));
    expect(replies.map(({ result }) => Buffer.from(result?.output ?? []).toString())).toEqual(inputs);
    expect(tenders).toHaveLength(1);
    expect(tenders[0]!.calls).toBe(200);
  });

  test.each([
    ['f', ErrorCode.GuestFault, /echo faulted .*read of 0x0/],
    ['a', ErrorCode.GuestAborted, /aborted with code 3/],
    ['r', ErrorCode.TaskRefusedInput, /refused its input with status 22/],
    ['b', ErrorCode.GuestBadOutput, /longer than declared/],
    ['d', ErrorCode.GuestDeadline, /budget was spent/],
  ])('a guest that ends with %j is told to the caller, and the next offload runs', async (input, code, message) => {
    const { broker } = await start();
    const socket = await connect(broker);
    const { refusal } = await offload(socket, { input });
    expect(refusal).toMatchObject({ code, message: expect.stringMatching(message) });
    expect((await offload(socket)).result).not.toBeNull();
    expect(broker.status().offloads).toMatchObject({ ok: 1, failed: 1 });
  });

  test('a tender that dies costs its one call; those behind it run in the next one', async () => {
    const { broker, tenders } = await start();
    const socket = await connect(broker);
    const replies = await Promise.all(['k', 'e1', 'e2'].map((input) => offload(socket, { input })));
    expect(replies[0]!.refusal?.code).toBe(ErrorCode.TenderDied);
    expect(replies.slice(1).every(({ result }) => result != null)).toBe(true);
    expect(tenders).toHaveLength(2);
    const status = broker.status();
    expect(status.packages[0]).toMatchObject({ tender: 'Waiting', restarts: 1, calls: 3 });
    expect(status.errors[0]).toMatchObject({ source: 'echo 1', code: ErrorCode.TenderDied });
  });

  test('a tender that dies between calls is replaced before the next one', async () => {
    const { broker, tenders } = await start();
    const socket = await connect(broker);
    await offload(socket);
    tenders[0]!.die('out of memory');
    expect((await offload(socket)).result).not.toBeNull();
    expect(tenders).toHaveLength(2);
  });
});

describe('pools of tenders', () => {
  test('offloads that come at the same time run at the same time', async () => {
    const { broker, tenders } = await start({ limits: { maxTendersPerTask: 3 } });
    const socket = await connect(broker);
    const replies = await Promise.all([1, 2, 3, 4, 5].map(() => offload(socket, { input: Uint8Array.of(0x73, 100) })));
    expect(replies.every(({ result }) => result != null)).toBe(true);
    expect(tenders).toHaveLength(3);
    expect(tenders.every(({ calls }) => calls > 0)).toBe(true);
    expect(broker.status().packages[0]).toMatchObject({
      tenders: 3,
      calls: 5,
      cpuMs: expect.closeTo(0.25),
      peakMemory: 16_384,
    });
  });

  test('a task that is not started ahead is started by its first offload, and that time is start, not queue', async () => {
    const slow = new FakeTender();
    slow.start = async () => {
      await sleep(300);
      slow.state = 'Waiting';
    };
    const { broker, tenders } = await start({ prestart: ['another'], tenders: [slow] });
    expect(tenders).toHaveLength(0);
    expect(broker.status().packages[0]).toMatchObject({ tender: 'Stopped', tenders: 0, memory: 0, reason: '' });
    const socket = await connect(broker);
    expect(ServiceAnnouncement.decode(socket.hello!).tasks).toHaveLength(1);
    const { result } = await offload(socket);
    expect(result!.startMs).toBeGreaterThan(250);
    expect(result!.queueMs).toBeLessThan(result!.startMs!);
    expect(result).toMatchObject({ runMs: expect.closeTo(0.1), cpuMs: expect.closeTo(0.05), peakMemory: 16_384 });
    expect((await offload(socket)).result!.startMs).toBeLessThan(result!.startMs!);
  });

  test('in quarantine: what waits and what comes is refused with the reason, and not run', async () => {
    const { broker, tenders, apiSocket } = await start();
    const socket = await connect(broker);
    for (let i = 0; i < 4; i++) await offload(socket, { input: 'k' });
    const [last, waiting] = await Promise.all([offload(socket, { input: 'k' }), offload(socket)]);
    expect(last.refusal?.code).toBe(ErrorCode.TenderDied);
    for (const { refusal } of [waiting, await offload(socket, { budgetMs: 3_000_000 })]) {
      expect(refusal).toMatchObject({
        code: ErrorCode.PackageQuarantined,
        message: expect.stringMatching(/echo 1 is in quarantine for 10 s, because tender after tender was lost/),
        retryAfterMs: expect.toSatisfy((ms: number) => ms > 0 && ms <= 10_000),
      });
    }
    expect(tenders).toHaveLength(5);
    expect(broker.status().packages[0]).toMatchObject({
      tender: 'Quarantined',
      reason: expect.stringMatching(/in quarantine/),
    });
    expect(await getControl(apiSocket, '/metrics')).toContain('broker_packages{state="Quarantined"} 1');
  });

  test('a task that may take more memory than all tenders may is refused, with both numbers', async () => {
    const { broker } = await start({ limits: { tenderMemory: 1000 } });
    expect(broker.status().packages).toEqual([]);
    expect(broker.status().rejected![0]!.reason).toMatch(
      /task echo 1 may take \d+ bytes of memory; .* may take 1000 \(--tender-memory\)/,
    );
  });

  test('a tenant that floods does not make another one wait for all that it has sent', async () => {
    const { broker } = await start();
    const [flooding, calm] = [await connect(broker), await connect(broker, await identityDir(vehicle('b', 'Calm')))];
    let answered = 0;
    const flood = Array.from({ length: 80 }, async () => {
      await offload(flooding, { input: Uint8Array.of(0x73, 20), budgetMs: 20_000 });
      answered++;
    });
    // Far from all 80: on a busy machine the first are served while the last are on their way.
    await vi.waitUntil(() => broker.status().queued > 40, { timeout: 10_000, interval: 5 });
    // Its deadline is the latest of all, and still it has its turn.
    expect((await offload(calm, { budgetMs: 60_000 })).result).not.toBeNull();
    expect(answered).toBeLessThan(flood.length);
    await Promise.all(flood);
  });

  test('more bytes than may wait are refused', async () => {
    const { broker } = await start({ limits: { maxQueuedBytes: 100_000 } });
    const socket = await connect(broker);
    const slow = Uint8Array.of(0x73, 100);
    const taken = [offload(socket, { input: slow }), offload(socket, { input: Buffer.alloc(40_000, 'e') })];
    const { refusal } = await offload(socket, { input: Buffer.alloc(20_000, 'e') });
    expect(refusal).toMatchObject({
      code: ErrorCode.TooManyFromTenant,
      message: 'tenant ACME has 40000 bytes of input waiting here; 20000 more are too many',
    });
    expect((await Promise.all(taken)).every(({ result }) => result != null)).toBe(true);
  });
});

describe('an offload that nobody wants any more', () => {
  const second = async (broker: RunningBroker) => {
    const identity = await loadIdentity(await identityDir(vehicle()), 'vehicle');
    return await connectWith(broker, new Agent(identity.clientOptions('rsu-1')), { versions: [1, 2] });
  };
  const unkept = (id: string, input: string) =>
    OffloadRequest.encode({ id, taskDigest: digest, input: Buffer.from(input), budgetMs: 30_000 }).finish();

  test('is cancelled by its id, and not run', async () => {
    const { broker, tenders, release } = await startHolding();
    const socket = await second(broker);
    expect(ServiceAnnouncement.decode(socket.hello!)).toMatchObject({ version: 2, freeTenders: 1, queueMs: 0 });
    const runs = send(socket, unkept('runs', 'h'));
    const waits = send(socket, unkept('waits', 'e'));
    const cancel = async (id: string) =>
      CancelReply.decode((await socket.emitWithAck('cancel', CancelRequest.encode({ id }).finish())) as Uint8Array);
    expect((await cancel('waits')).state).toBe(0);
    expect((await waits).refusal).toMatchObject({ code: ErrorCode.OffloadCancelled, reason: 'cancelled' });
    expect((await cancel('waits')).state).toBe(1);
    release();
    expect((await runs).result).toBeTruthy();
    expect(tenders[0]!.calls).toBe(1);
  });

  test('is not run when its link is lost before its turn', async () => {
    const { broker, tenders, release } = await startHolding();
    const [lost, stays] = [await second(broker), await connect(broker, await identityDir(vehicle('car-2')))];
    const runs = send(stays, unkept('runs', 'h'));
    await vi.waitUntil(() => tenders[0]!.state === 'Busy', { timeout: 20_000 });
    send(lost, unkept('gone', 'e')).catch(() => {});
    await vi.waitUntil(() => broker.status().queued === 1, { timeout: 20_000 });
    lost.disconnect();
    await vi.waitUntil(() => broker.status().queued === 0, { timeout: 20_000 });
    release();
    expect((await runs).result).toBeTruthy();
    expect((await offload(stays)).result).toBeTruthy();
    expect(tenders[0]!.calls).toBe(2);
  });
});

describe('the same id', () => {
  test('in flight joins: one run, two answers', async () => {
    const { broker, tenders } = await start();
    const [a, b] = [await connect(broker), await connect(broker)];
    const input = Uint8Array.of(0x73, 40);
    const replies = await Promise.all([offload(a, { id: 'x', input }), offload(b, { id: 'x', input })]);
    for (const { result } of replies) expect(Buffer.from(result!.output!)).toEqual(Buffer.from(input));
    expect(tenders[0]!.calls).toBe(1);
  });

  test('finished is answered again without a run', async () => {
    const { broker, tenders } = await start();
    const socket = await connect(broker);
    await offload(socket, { id: 'x', input: 'e1' });
    const again = await offload(await connect(broker), { id: 'x', input: 'e1' });
    expect(Buffer.from(again.result!.output!).toString()).toBe('e1');
    expect(tenders[0]!.calls).toBe(1);
  });

  test('with other input is refused, in flight and finished; of another tenant it is another offload', async () => {
    const { broker, tenders } = await start();
    const socket = await connect(broker);
    const running = offload(socket, { id: 'x', input: Uint8Array.of(0x73, 40) });
    expect((await offload(socket, { id: 'x', input: 'e' })).refusal?.code).toBe(ErrorCode.BadOffloadRequest);
    await running;
    expect((await offload(socket, { id: 'x', input: 'e' })).refusal).toMatchObject({
      code: ErrorCode.BadOffloadRequest,
      message: expect.stringMatching(/choose a new id/),
    });
    const other = await connect(broker, await identityDir(vehicle('car-1', 'Other')));
    expect((await offload(other, { id: 'x', input: 'e' })).result).not.toBeNull();
    expect(tenders[0]!.calls).toBe(2);
  });

  test('after a failure runs again', async () => {
    const { broker, tenders } = await start();
    const socket = await connect(broker);
    await offload(socket, { id: 'x', input: 'f' });
    await offload(socket, { id: 'x', input: 'f' });
    expect(tenders[0]!.calls).toBe(2);
  });
});

describe('refusals', () => {
  test('an unknown package, and too much input for the task', async () => {
    const { broker } = await start();
    const socket = await connect(broker);
    const unknown = `sha256:${'0'.repeat(64)}`;
    expect((await offload(socket, { task: unknown })).refusal).toMatchObject({
      code: ErrorCode.UnknownPackage,
      message: expect.stringContaining(unknown),
    });
    const large = await offload(socket, { input: Buffer.alloc(65_537, 'e') });
    expect(large.refusal).toMatchObject({ code: ErrorCode.TenderInputTooLarge });
    expect(broker.status().offloads).toMatchObject({ ok: 0, refused: 2 });
  });

  test('a full queue and a greedy tenant, with a hint', async () => {
    const { broker } = await start({ limits: { maxQueuedPerPackage: 3, maxQueuedPerTenant: 2 } });
    const [acme, other] = [await connect(broker), await connect(broker, await identityDir(vehicle('b', 'Other')))];
    const slow = Uint8Array.of(0x73, 60);
    const running = [offload(acme, { input: slow }), offload(acme), offload(acme)];
    expect((await offload(acme)).refusal).toMatchObject({
      code: ErrorCode.TooManyFromTenant,
      retryAfterMs: expect.toSatisfy((hint: number) => hint > 0),
    });
    running.push(offload(other));
    expect((await offload(other)).refusal).toMatchObject({ code: ErrorCode.QueueFull });
    expect((await Promise.all(running)).every(({ result }) => result != null)).toBe(true);
  });

  test('a hint that comes from what the package says of its cost, before anything has run', async () => {
    const packagesDir = fresh();
    const parts = { images: [fakeImage()], version: '1', isolation: 'any', costMs: 4000 } as const;
    const task = await buildTaskPackage(join(packagesDir, 'echo'), parts);
    const { broker } = await start({ packagesDir, limits: { maxQueuedPerPackage: 1 } });
    const socket = await connect(broker);
    const running = [offload(socket, { task, input: Uint8Array.of(0x73, 60) }), offload(socket, { task })];
    // One waits: half of one call.
    expect((await offload(socket, { task })).refusal).toMatchObject({ code: ErrorCode.QueueFull, retryAfterMs: 2000 });
    expect((await Promise.all(running)).every(({ result }) => result != null)).toBe(true);
  });

  test('a budget that is spent in the queue: it is not run, and its caller is told', async () => {
    const { broker, tenders, release } = await startHolding();
    const socket = await connect(broker);
    const slow = offload(socket, HELD);
    const late = await offload(socket, { budgetMs: 10 });
    expect(late.refusal).toMatchObject({
      code: ErrorCode.BudgetSpentInQueue,
      message: expect.stringMatching(/budget of 10 ms was spent in the queue \(\d+ ms\); it was not run/),
    });
    release();
    await slow;
    expect(tenders[0]!.calls).toBe(1);
  });

  test('a budget that is spent in the queue is answered then, not when the tender is free', async () => {
    const { broker, tenders, release } = await startHolding();
    const socket = await connect(broker);
    const slow = offload(socket, HELD);
    const [longer, shorter] = [offload(socket, { budgetMs: 60 }), offload(socket, { budgetMs: 20 })];
    for (const late of [await shorter, await longer]) {
      expect(late.refusal).toMatchObject({ code: ErrorCode.BudgetSpentInQueue });
    }
    release();
    await slow;
    expect(tenders[0]!.calls).toBe(1);
  });

  test('while it stops: what runs comes to its end, what waits and what is new is refused', async () => {
    const { broker, release } = await startHolding();
    const socket = await connect(broker);
    const running = offload(socket, HELD);
    const waiting = offload(socket);
    await vi.waitUntil(() => broker.status().queued === 1, { timeout: 20_000 });
    const stopped = broker.stop();
    expect((await waiting).refusal?.code).toBe(ErrorCode.BrokerStopping);
    expect((await offload(socket)).refusal?.code).toBe(ErrorCode.BrokerStopping);
    release();
    expect((await running).result).not.toBeNull();
    await stopped;
  });

  test('an image that the tender refuses: the caller is told why, the package is not announced, nothing is tried again', async () => {
    const refused = new FakeTender(new KerbError(ErrorCode.ImageRefused, 'a segment is writable and executable'));
    const { broker, tenders } = await start({ tenders: [refused] });
    const socket = await connect(broker);
    expect(ServiceAnnouncement.decode(socket.hello!).tasks).toEqual([]);
    expect((await offload(socket)).refusal).toMatchObject({
      code: ErrorCode.TenderUnavailable,
      message: expect.stringMatching(/writable and executable/),
    });
    await sleep(120);
    expect(tenders).toHaveLength(1);
    expect(broker.status().packages[0]).toMatchObject({ tender: 'Dead' });
  });

  test('a tender that will not start is tried again, and an offload waits for it as long as its budget allows', async () => {
    const broken = () => new FakeTender(new KerbError(ErrorCode.TenderUnavailable, 'no memory'));
    const { broker, tenders } = await start({ tenders: [broken(), broken()] });
    const socket = await connect(broker);
    expect((await offload(socket)).result).not.toBeNull();
    expect(tenders).toHaveLength(3);
  });
});

describe('malformed messages', () => {
  const request = (change: object) =>
    OffloadRequest.encode({ id: 'x', taskDigest: digest, input: Buffer.from('e'), budgetMs: 100, ...change }).finish();

  test.each<[string, () => Uint8Array, RegExp]>([
    ['bytes that are no protobuf', () => Buffer.alloc(50, 0xff), /not a valid OffloadRequest/],
    ['an empty message', () => Buffer.alloc(0), /its id/],
    ['a cut message', () => request({}).slice(0, 40), /not a valid OffloadRequest|its task/],
    ['groups within groups without end', () => Buffer.alloc(60_000, 0x0b), /not a valid OffloadRequest/],
    ['no id', () => request({ id: '' }), /its id/],
    ['an unknown isolation', () => request({ isolation: 'none' }), /its isolation/],
    ['an id with a line break', () => request({ id: 'a\nb' }), /its id/],
    ['a very long id', () => request({ id: 'a'.repeat(129) }), /its id/],
    ['a task that is a path', () => request({ taskDigest: 'sha256:../../x' }), /its task/],
    ['a budget of nothing', () => request({ budgetMs: 0 }), /its budget/],
    ['a negative budget', () => request({ budgetMs: -5 }), /its budget/],
    ['a budget that is no number', () => request({ budgetMs: Number.NaN }), /its budget/],
    ['a budget without end', () => request({ budgetMs: Number.POSITIVE_INFINITY }), /its budget/],
    ['a priority above the highest', () => request({ priority: 1001 }), /its priority/],
  ])('%s: refused, and the connection lives on', async (_, bytes, message) => {
    const { broker } = await start();
    const socket = await connect(broker);
    const { refusal } = await send(socket, bytes());
    expect(refusal).toMatchObject({ code: ErrorCode.BadOffloadRequest, message: expect.stringMatching(message) });
    expect((await offload(socket)).result).not.toBeNull();
  });

  test('random bytes never harm the broker', async () => {
    const { broker } = await start();
    const socket = await connect(broker);
    const good = OffloadRequest.encode({
      id: 'r',
      taskDigest: digest,
      input: Buffer.alloc(50),
      budgetMs: 100,
    }).finish();
    let seed = 12_345;
    const random = () => {
      seed = (seed * 1_103_515_245 + 12_345) & 0x7fff_ffff;
      return seed;
    };
    const replies = await Promise.all(
      Array.from({ length: 300 }, () => {
        const bytes = Buffer.from(good);
        for (let flips = 0; flips < 3; flips++) bytes[random() % bytes.length] = random() & 0xff;
        return send(socket, bytes);
      }),
    );
    expect(replies.every(({ result, refusal }) => (result == null) !== (refusal == null))).toBe(true);
    expect((await offload(socket)).result).not.toBeNull();
  });

  test.each<[string, (socket: Socket) => void]>([
    ['text instead of bytes', (socket) => socket.emit('offload', 'hello', () => {})],
    ['nothing', (socket) => socket.emit('offload')],
    ['no acknowledgement', (socket) => socket.emit('offload', Buffer.from('x'))],
    ['a message above the limit', (socket) => socket.emit('offload', Buffer.alloc(300_000), () => {})],
    ['an empty message', (socket) => sendRaw(socket, Buffer.alloc(0))],
    ['a message that is cut off', (socket) => sendRaw(socket, Buffer.from([2, 200, 1, 0, 0, 0, 0x6f]))],
    ['a message of an unknown type', (socket) => sendRaw(socket, Buffer.alloc(64, 0x7f))],
    ['an event of socket.io itself', (socket) => sendRaw(socket, Buffer.from('\x02\x0a\0\0\0\0disconnect'))],
    ['more attachments than allowed', (socket) => sendRaw(socket, '599-["offload"]')],
    [
      'an attachment that there is not',
      (socket) => sendRaw(socket, '51-["offload",{"_placeholder":true,"num":9}]', 'x'),
    ],
    ['text where an attachment was announced', (socket) => sendRaw(socket, '51-["offload"]', '2["offload"]')],
    ['an event in another namespace', (socket) => sendRaw(socket, '2/admin,0["offload"]')],
    ['text that is no packet', (socket) => sendRaw(socket, '\0')],
  ])('%s: costs the connection, and only that', async (_, act) => {
    const { broker } = await start();
    const [bad, good] = [await connect(broker), await connect(broker)];
    const gone = new Promise((resolve) => bad.once('disconnect', resolve));
    act(bad);
    await gone;
    expect((await offload(good)).result).not.toBeNull();
  });
});

describe('who may connect', () => {
  test('nobody without a certificate', async () => {
    const { broker } = await start();
    const agent = new Agent({ ca: authority.certificate, checkServerIdentity: () => undefined });
    await expect(connectWith(broker, agent)).rejects.toThrow(/certificate required|ECONNRESET|hang up/);
    expect(broker.status()).toMatchObject({ clients: 0 });
  });

  test('nobody of another authority', async () => {
    const { broker } = await start();
    const foreign = await issueCertificate(await createAuthority('Test CA'), vehicle());
    const agent = new Agent({
      ca: authority.certificate,
      cert: foreign.certificate,
      key: foreign.key,
      checkServerIdentity: () => undefined,
    });
    await expect(connectWith(broker, agent)).rejects.toThrow(/alert|ECONNRESET|hang up/);
  });

  test('nobody whose certificate has expired', async () => {
    const { broker } = await start();
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() - 400 * 86_400_000 });
    // Older than its certificates, so that only the vehicle's own has run out.
    const old = await issueCertificate(authority, vehicle());
    vi.useRealTimers();
    const agent = new Agent({
      ca: authority.certificate,
      cert: old.certificate,
      key: old.key,
      checkServerIdentity: () => undefined,
    });
    await expect(connectWith(broker, agent)).rejects.toThrow(/alert|ECONNRESET|hang up/);
  });

  test('no older TLS', async () => {
    const { broker } = await start();
    const { certificate, key } = await issueCertificate(authority, vehicle());
    const agent = new Agent({
      ca: authority.certificate,
      cert: certificate,
      key,
      checkServerIdentity: () => undefined,
      maxVersion: 'TLSv1.2',
    });
    await expect(connectWith(broker, agent)).rejects.toThrow(/protocol version|ECONNRESET/);
  });

  test('what has a good certificate that names nobody is told so', async () => {
    const { broker } = await start();
    const x509 = await import('@peculiar/x509');
    const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
    const keys = (await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair;
    const nobody = await x509.X509CertificateGenerator.create({
      subject: 'CN=somebody',
      issuer: new x509.X509Certificate(authority.certificate).subjectName,
      publicKey: keys.publicKey,
      signingKey: createPrivateKey(authority.key).toCryptoKey(algorithm, false, ['sign']),
      signingAlgorithm: algorithm,
      notAfter: new Date(Date.now() + 86_400_000),
      extensions: [new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.clientAuth])],
    });
    const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey));
    const agent = new Agent({
      ca: authority.certificate,
      cert: nobody.toString('pem'),
      key: createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }).export({ format: 'pem', type: 'pkcs8' }),
      checkServerIdentity: () => undefined,
    });
    await expect(connectWith(broker, agent)).rejects.toThrow(/needs exactly one urn:kerbside/);
  });

  test('no more than may', async () => {
    const { broker } = await start({ limits: { maxClients: 1 } });
    await connect(broker);
    await expect(connect(broker)).rejects.toThrow();
  });

  test('strangers that connect and say nothing keep no vehicle out', async () => {
    const { broker } = await start({ limits: { maxClients: 4 } });
    const first = await connect(broker);
    const gone: Promise<unknown>[] = [];
    for (let i = 0; i < 12; i++) {
      const stranger = netConnect(broker.port, '127.0.0.1').on('error', () => {});
      undo.push(() => stranger.destroy());
      gone.push(once(stranger, 'close'));
      await once(stranger, 'connect');
    }
    await Promise.all(gone.slice(0, 9));
    const second = await connect(broker);
    for (const socket of [first, second]) expect((await offload(socket)).result).not.toBeNull();
    expect(broker.status().clients).toBe(2);
  });

  test('who asks for anything but V2E is told that there is nothing', async () => {
    const { broker } = await start();
    const identity = await loadIdentity(await identityDir(vehicle()), 'vehicle');
    for (const path of ['/', '/v2e', '/socket.io/?EIO=4&transport=websocket']) {
      const asked = get(new URL(path, broker.url), { ...identity.clientOptions('rsu-1'), agent: false });
      const [response] = (await once(asked, 'response')) as [IncomingMessage];
      expect(response.resume().statusCode).toBe(404);
    }
  });
});

describe('an identity that is replaced while the broker runs', () => {
  test('is shown to who connects then, and who is connected stays', async () => {
    const dir = await identityDir({ kind: 'broker', id: 'rsu-1', hosts: [] });
    const { broker } = await start({ identityDir: dir });
    const serialOf = async () => {
      const own = await loadIdentity(await identityDir(vehicle()), 'vehicle');
      const socket = tlsConnect({ port: broker.port, host: '127.0.0.1', ...own.clientOptions('rsu-1') });
      await once(socket, 'secureConnect');
      const serial = socket.getPeerX509Certificate()!.serialNumber;
      socket.destroy();
      return serial;
    };
    const first = await connect(broker);
    const before = await serialOf();
    const next = await identityDir({ kind: 'broker', id: 'rsu-1', hosts: [] });
    cpSync(join(next, 'key.pem'), join(dir, 'key.pem')); // half of it: that of before goes on
    await vi.waitFor(() => expect(broker.status().errors.map(({ source }) => source)).toContain('identity'), 20_000);
    expect(await serialOf()).toBe(before);
    cpSync(join(next, 'certificate.pem'), join(dir, 'certificate.pem'));
    await vi.waitFor(async () => expect(await serialOf()).not.toBe(before), { timeout: 20_000, interval: 200 });
    expect((await offload(first)).result).not.toBeNull();
  });
});

describe('starting and stopping', () => {
  test('bad packages are named and do not stop the others', async () => {
    const dir = fresh();
    cpSync(packages, dir, { recursive: true });
    cpSync(join(dir, 'echo'), join(dir, 'copy'), { recursive: true });
    cpSync(join(dir, 'echo'), join(dir, 'broken'), { recursive: true });
    for (const blob of readdirSync(join(dir, 'broken', 'blobs', 'sha256'))) {
      writeFileSync(join(dir, 'broken', 'blobs', 'sha256', blob), 'x');
    }
    mkdirSync(join(dir, 'empty'));
    mkdirSync(join(dir, '.unfinished'));
    await buildTaskPackage(join(dir, 'demanding'), { images: [fakeImage()], version: '1', isolation: 'vm' });
    const { broker } = await start({ packagesDir: dir });
    const status = broker.status();
    expect(status.packages.map(({ digest: found }) => found)).toEqual([digest]);
    expect(status.rejected?.map(({ path }) => path.slice(dir.length + 1))).toEqual(['broken', 'demanding', 'empty']);
    expect(status.rejected?.[1]?.reason).toMatch(/demands isolation vm/);
  });

  test('a task gets the isolation that it demands, and else what the broker is told', async () => {
    const dir = fresh();
    cpSync(packages, dir, { recursive: true });
    await buildTaskPackage(join(dir, 'demanding'), { images: [fakeImage()], version: '1', isolation: 'vm' });
    await buildTaskPackage(join(dir, 'modest'), { images: [fakeImage()], version: '1', isolation: 'process' });
    const auto = await start({ packagesDir: dir, isolation: 'auto' });
    expect(auto.broker.status().rejected).toEqual([]);
    expect(auto.wishes.sort()).toEqual(['auto', 'process', 'vm']);
    await auto.broker.stop();
    const vm = await start({ packagesDir: dir, isolation: 'vm' });
    expect(vm.broker.status().rejected?.map(({ reason }) => reason)).toEqual([
      expect.stringMatching(/demands isolation process; this broker has vm/),
    ]);
    expect(vm.wishes).toEqual(['vm', 'vm']);
  });

  test('the control socket answers with status and metrics', async () => {
    const { broker, apiSocket } = await start();
    const socket = await connect(broker);
    await offload(socket);
    await offload(socket, { input: 'f' });
    await offload(socket, { task: `sha256:${'0'.repeat(64)}` });
    expect(JSON.parse(await getControl(apiSocket, '/v1/status'))).toMatchObject({
      broker: 'rsu-1',
      url: broker.url,
      offloads: { ok: 1, failed: 1, refused: 1 },
      packages: [{ name: 'echo', tender: 'Waiting', isolation: 'process', processPer: 'call', calls: 2 }],
    });
    const metrics = await getControl(apiSocket, '/metrics');
    for (const line of [
      'broker_offloads_total{tenant="ACME",task="echo",result="ok"} 1',
      'broker_offloads_total{tenant="ACME",task="echo",result="GuestFault"} 1',
      'broker_refusals_total{reason="unknown_task"} 1',
      'broker_tenders{isolation="process",state="Waiting"} 1',
      'broker_tenders_kept_process 0',
      'broker_packages{state="Waiting"} 1',
      'broker_guest_cpu_seconds_total{tenant="ACME",task="echo"} 0.0001',
      'broker_guest_memory_bytes_sum{task="echo"} 32768',
      'broker_offload_seconds_count{phase="total"} 1',
      'broker_offload_latency_seconds_count{tenant="ACME",task="echo"} 1',
      'broker_clients 1',
      'broker_draining 0',
    ]) {
      expect(metrics).toContain(line);
    }
  });

  test('leaves no socket and no tender behind, twice stopped or once', async () => {
    const { broker, apiSocket, tenders } = await start();
    await connect(broker);
    await Promise.all([broker.stop(), broker.stop()]);
    expect(existsSync(apiSocket)).toBe(false);
    expect(tenders[0]!.state).toBe('Stopped');
    await expect(connect(broker)).rejects.toThrow(/ECONNREFUSED/);
  });

  test('another id than the certificate, and a certificate of a vehicle', async () => {
    await expect(start({ identityDir: await identityDir(brokerNamed('rsu-2')) })).rejects.toThrow(
      /is of broker rsu-2, not rsu-1/,
    );
    await expect(start({ identityDir: await identityDir(vehicle()) })).rejects.toThrow(/a broker's is needed here/);
  });

  test('no packages directory, and a port that is taken', async () => {
    await expect(start({ packagesDir: join(root, 'none') })).rejects.toMatchObject({ code: ErrorCode.BadConfig });
    const { broker } = await start();
    const tender = new FakeTender();
    const second = startBroker(
      {
        id: 'rsu-1',
        listen: { host: '127.0.0.1', port: broker.port },
        identityDir: await identityDir(brokerNamed('rsu-1')),
        packagesDir: packages,
        trustDir: undefined,
        stateDir: fresh(),
        apiSocket: join(root, 'second'),
        isolation: 'process',
        prestart: 'all',
        limits: DEFAULT_LIMITS,
      },
      { log: silentLog(), createTender: () => tender },
    );
    await expect(second).rejects.toThrow(/EADDRINUSE/);
    expect(tender.state).toBe('Stopped');
  });

  test('a second broker is kept off the state folder, until the first has stopped', async () => {
    const { broker, stateDir } = await start();
    await expect(start({ stateDir })).rejects.toMatchObject({ code: ErrorCode.BrokerAlreadyRunning });
    await broker.stop();
    await (await start({ stateDir })).broker.stop();
  });

  test('of packages, only those that a trusted key has signed are run', async () => {
    const packagesDir = fresh();
    const maker = await createSigner(join(root, 'maker'), 'maker');
    const stranger = await createSigner(join(root, 'stranger'), 'stranger');
    const add = async (name: string): Promise<TaskPackage> => {
      const dir = join(packagesDir, name);
      await buildTaskPackage(dir, { images: [fakeImage({ name })], version: '1', isolation: 'any' });
      return await readTaskPackage(dir);
    };
    const good = await add('good');
    await signTaskPackage(good, maker);
    await add('unsigned');
    await signTaskPackage(await add('foreign'), stranger);
    await signTaskPackage(await add('expired'), maker, 1, Date.now() - 2 * 86_400_000);
    // Signed, and then changed: the signature is still there, about the package that was.
    const before = await add('changed');
    await signTaskPackage(before, maker);
    const [signature] = await readSignatures(before);
    await buildTaskPackage(before.dir, {
      images: [fakeImage({ name: 'changed', filler: 'x' })],
      version: '1',
      isolation: 'any',
    });
    await addSignature(await readTaskPackage(before.dir), [signature!]);
    // And one flipped bit in the image of a signed one.
    const flipped = await add('flipped');
    await signTaskPackage(flipped, maker);
    const path = join(flipped.dir, 'blobs', ...flipped.images[0]!.digest.split(':'));
    const bytes = readFileSync(path);
    bytes[150] = bytes[150]! ^ 1;
    writeFileSync(path, bytes);

    const { broker, tenders } = await start({ packagesDir, trustDir: join(root, 'maker/public') });
    const status = broker.status();
    expect(status.packages).toMatchObject([{ digest: good.digest, tender: 'Waiting' }]);
    expect(tenders).toHaveLength(1);
    const codes = status.errors.map(({ source, code }) => [source.slice(packagesDir.length + 1), code]);
    expect(Object.fromEntries(codes)).toEqual({
      unsigned: ErrorCode.TaskUnsigned,
      foreign: ErrorCode.TaskSignerUnknown,
      expired: ErrorCode.TaskSignatureExpired,
      changed: ErrorCode.TaskSignatureInvalid,
      flipped: ErrorCode.TaskPackageDigestMismatch,
    });
    expect(status.rejected).toHaveLength(5);
    const socket = await connect(broker);
    expect((await offload(socket, { task: good.digest })).result).toBeTruthy();
    expect((await offload(socket, { task: before.digest })).refusal?.code).toBe(ErrorCode.UnknownPackage);
  });

  test('a directory without a trusted key is no reason to trust everybody', async () => {
    await expect(start({ trustDir: fresh() })).rejects.toMatchObject({ code: ErrorCode.BadIdentity });
  });

  test('cancelled while it starts: what was started is stopped', async () => {
    const cancel = new AbortController();
    const slow = new FakeTender();
    slow.start = () => new Promise(() => cancel.abort());
    await expect(start({ tenders: [slow], signal: cancel.signal })).rejects.toMatchObject({
      code: ErrorCode.Cancelled,
    });
    expect(slow.state).toBe('Stopped');
    await expect(start({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: ErrorCode.Cancelled });
  });

  test('cancelled at any moment: nothing listens afterwards', async () => {
    const listening = () =>
      process.getActiveResourcesInfo().filter((what) => /^(TCPServer|PipeServer)/.test(what)).length;
    const before = listening();
    const identity = await identityDir(brokerNamed('rsu-1'));
    for (let delay = 0; delay < 20; delay++) {
      const cancel = new AbortController();
      setTimeout(() => cancel.abort(), delay);
      const outcome = await start({ signal: cancel.signal, identityDir: identity }).catch((error: unknown) => error);
      if (outcome instanceof Error) expect(outcome).toMatchObject({ code: ErrorCode.Cancelled });
      else await (outcome as Awaited<ReturnType<typeof start>>).broker.stop();
      await sleep(5);
      expect(listening(), `after ${delay} ms`).toBe(before);
    }
  });

  test('a package that goes, or an image that is exchanged, while the broker runs changes nothing of what runs', async () => {
    const packagesDir = fresh();
    cpSync(packages, packagesDir, { recursive: true });
    const { broker, stateDir, tenders } = await start({ packagesDir });
    const socket = await connect(broker);
    const [name] = readdirSync(join(stateDir, 'images'));
    const image = join(stateDir, 'images', name!);
    rmSync(image);
    writeFileSync(image, 'another image');
    tenders[0]!.die('killed');
    expect((await offload(socket)).result).not.toBeNull();
    expect(readFileSync(image)).toEqual(fakeImage());
    rmSync(packagesDir, { recursive: true });
    tenders[1]!.die('killed');
    expect((await offload(socket)).result).not.toBeNull();
    expect(tenders).toHaveLength(3);
    // Nothing verified is left to run.
    rmSync(image);
    tenders[2]!.die('killed');
    expect((await offload(socket)).refusal).toMatchObject({ code: ErrorCode.TenderUnavailable });
    expect(tenders).toHaveLength(3);
  });

  test('a state directory that cannot be written is named', async () => {
    const stateDir = fresh();
    writeFileSync(stateDir, 'a file');
    await expect(start({ stateDir })).rejects.toMatchObject({
      code: ErrorCode.BadConfig,
      message: expect.stringContaining(stateDir),
    });
  });

  test('the tender gets a copy of the verified image, out of reach of whoever owns the packages', async () => {
    const { stateDir } = await start();
    const [name] = readdirSync(join(stateDir, 'images'));
    expect(readFileSync(join(stateDir, 'images', name!))).toEqual(fakeImage());
  });
});
