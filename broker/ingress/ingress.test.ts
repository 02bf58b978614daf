import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { Agent } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ConnectionOptions, connect as tlsConnect } from 'node:tls';
import { Registry } from 'prom-client';
import { io, type Socket } from 'socket.io-client';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { WebSocket } from 'ws';
import { RecentErrors } from '../../shared/api/recent-errors.ts';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import { silentLog } from '../../shared/base/log.ts';
import { refusal } from '../../shared/base/refusal.ts';
import {
  type Credentials,
  createAuthority,
  createRevocationList,
  issueCertificate,
} from '../../shared/identity/authority.ts';
import { parseCertificate } from '../../shared/identity/certificate.ts';
import { writeIdentity } from '../../shared/identity/files.ts';
import type { VehiclePrincipal } from '../../shared/identity/identity.ts';
import { loadIdentity } from '../../shared/identity/x509-identity.ts';
import { kerbside } from '../../shared/protocol/generated/v2e.js';
import { v2eParser } from '../../shared/protocol/v2e-parser.ts';
import type { Answer, IncomingOffload, TaskResult } from '../offloads/offload.ts';
import type { TaskQuery } from '../packages/describe.ts';
import { TransferMetrics } from '../telemetry/transfer-metrics.ts';
import type { ClientLimits } from '../tenants/policy.ts';
import { ClientLog } from './client-log.ts';
import { encodeAnnouncement } from './codec.ts';
import { Ingress, type IngressOptions } from './ingress.ts';
import { TRANSFER_LIMITS } from './transfers/transfer-link.ts';

const { OffloadRequest, OffloadReply, CancelRequest, ClaimRequest, CancelReply, DescribeRequest, DescribeReply } =
  kerbside.v2e;
const { ChunkReply, OfferReply, DrainNotice, StateReply, StateRequest } = kerbside.v2e;
const TASK = `sha256:${'0'.repeat(64)}`;
const MIB = 1024 * 1024;

const LIMITS: ClientLimits = {
  connectionsPerVehicle: 32,
  connectionsPerTenant: 64,
  bytesInFlight: 64 * MIB,
  unreadBytes: 32 * MIB,
  requestsPerSecond: 10_000,
};

let root: string;
let old: Credentials;
let fresh: Credentials;
let brokerDir: string;
let cars: Credentials[];
const undo: (() => unknown)[] = [];
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'kerb-ingress-'));
  [old, fresh] = await Promise.all([createAuthority('Old'), createAuthority('New')]);
  brokerDir = join(root, 'broker');
  const credentials = await issueCertificate(fresh, { kind: 'broker', id: 'rsu-1', hosts: [] });
  await writeIdentity(brokerDir, credentials, old.certificate + fresh.certificate);
  const car = (issuer: Credentials, id: string, tenant = 'ACME') =>
    issueCertificate(issuer, { kind: 'vehicle', id, tenant });
  cars = await Promise.all([car(old, 'car-1'), car(fresh, 'car-2'), car(fresh, 'car-3', 'Other')]);
});
afterAll(() => rmSync(root, { recursive: true, force: true }));
afterEach(async () => {
  for (let step = undo.pop(); step !== undefined; step = undo.pop()) await step();
});

interface Started {
  readonly ingress: Ingress;
  /** What was submitted and is not answered. */
  readonly open: { offload: IncomingOffload; answer: Answer }[];
  readonly lost: string[][];
  readonly cancelled: string[];
  readonly errors: RecentErrors;
}

async function start(change: Partial<IngressOptions> = {}, limits: Partial<ClientLimits> = {}): Promise<Started> {
  const errors = new RecentErrors(100);
  const log = silentLog();
  const [open, lost, cancelled]: [Started['open'], string[][], string[]] = [[], [], []];
  const ingress = new Ingress({
    identity: await loadIdentity(brokerDir, 'broker'),
    listen: { host: '127.0.0.1', port: 0 },
    maxInput: 4 * MIB,
    maxClients: 64,
    announcement: ({ version }) =>
      encodeAnnouncement(
        { broker: 'rsu-1', tasks: [], isolations: [], maxInput: 4 * MIB, queueMs: 0, freeTenders: 0 },
        version,
      ),
    limitsOf: () => ({ ...LIMITS, ...limits }),
    onConnected: () => () => {},
    refusalOf: () => undefined,
    submit: (offload, answer) => open.push({ offload, answer }),
    cancel: (_client, id) => cancelled.push(id) > 0 && id !== 'unknown',
    linkLost: (_client, ids) => lost.push([...ids]),
    describe: () => Promise.reject(new KerbError(ErrorCode.UnknownPackage, 'none')),
    claim: (_client, { id }, answer) => answer(undefined, { code: ErrorCode.NoBroker, message: id, retryAfterMs: 0 }),
    announcements: () => new Uint8Array(0),
    transfers: {
      limits: { ...TRANSFER_LIMITS, maxBytes: 64 * MIB, maxJoined: 64 },
      metrics: new TransferMetrics(new Registry()),
      announce: (_offload, answer, want) => want(answer),
      arrived: (offload, answer) => open.push({ offload, answer }),
    },
    state: async () => ({ entry: { version: 0, expiresInMs: 0 } }),
    pushes: () => ({ take: async (bytes) => bytes, end: async () => {} }),
    clients: new ClientLog(log, errors),
    log,
    ...change,
  });
  await ingress.start();
  undo.push(() => ingress.stop());
  return { ingress, open, lost, cancelled, errors };
}

function tlsOptions({ certificate, key }: Credentials): ConnectionOptions {
  return { cert: certificate, key, ca: [old.certificate, fresh.certificate], checkServerIdentity: () => undefined };
}

async function connect(ingress: Ingress, car: Credentials, version = 2): Promise<Socket> {
  const socket = io(`https://127.0.0.1:${ingress.port}`, {
    path: '/v2e',
    transports: ['websocket'],
    parser: v2eParser,
    agent: new Agent(tlsOptions(car) as object) as unknown as string,
    reconnection: false,
    forceNew: true,
    ...(version >= 2 ? { auth: { versions: [1, 2] } } : {}),
  });
  undo.push(() => socket.disconnect());
  await new Promise<void>((resolve, reject) => {
    socket.once('hello', () => resolve());
    socket.once('connect_error', (error) => {
      const { description } = error as Error & { description?: { error?: Error } };
      reject(description?.error ?? error);
    });
    socket.once('disconnect', (reason) => reject(new Error(reason)));
  });
  return socket;
}

/** A WebSocket under what socket.io would do with it; `sent` are messages that are in the first write. */
async function raw(ingress: Ingress, car: Credentials, ...sent: (string | Buffer)[]): Promise<WebSocket> {
  const socket = new WebSocket(`wss://127.0.0.1:${ingress.port}/v2e/?EIO=4&transport=websocket`, {
    ...tlsOptions(car),
    perMessageDeflate: false,
  } as object);
  socket.on('error', () => {});
  undo.push(() => socket.terminate());
  await once(socket, 'open');
  for (const message of sent) socket.send(message);
  return socket;
}

const request = (id: string, bytes = 10, keepMs = 0) =>
  OffloadRequest.encode({ id, taskDigest: TASK, input: Buffer.alloc(bytes), budgetMs: 60_000, keepMs }).finish();
const result = (bytes: number): TaskResult => ({
  output: Buffer.alloc(bytes),
  queueMs: 0,
  startMs: 0,
  runMs: 1,
  cpuMs: 1,
  peakMemory: 0,
  isolation: 'process',
});
/** One event as one message of a WebSocket. */
function eventOf(name: string, ack: number, payload: Uint8Array): Buffer {
  const head = Buffer.alloc(6);
  head[0] = 2;
  head[1] = name.length;
  head.writeUInt32LE(ack + 1, 2);
  return Buffer.concat([head, Buffer.from(name), payload]);
}
const asked = async (socket: Socket, event: string, payload: Uint8Array) =>
  (await socket.timeout(5000).emitWithAck(event, payload)) as Uint8Array;

describe('one connection', () => {
  test('is one client, whatever it sends: the second of 2,000 CONNECTs ends it', async () => {
    const { ingress, errors } = await start();
    const other = await connect(ingress, cars[1]!);
    const greedy = await raw(ingress, cars[0]!, ...Array.from({ length: 2000 }, () => '40'));
    const [code, reason] = (await once(greedy, 'close')) as [number, Buffer];
    expect([code, String(reason)]).toEqual([1008, expect.stringMatching(/a second CONNECT/)]);
    expect(ingress.clients).toBe(1);
    expect(errors.list()).toEqual([
      expect.objectContaining({ source: 'vehicle car-1', message: expect.stringMatching(/a second CONNECT/) }),
    ]);
    expect(other.connected).toBe(true);
  });

  test.each<[string, (string | Buffer)[], RegExp]>([
    ['another namespace', ['40/admin,'], /another namespace/],
    ['another namespace beside the default one', ['40', '40/x,'], /a second CONNECT/],
    ['an event before CONNECT', [eventOf('offload', 0, request('a'))], /before the connection/],
    ['a greeting without end', [`40{"versions":[${'1,'.repeat(9000)}1]}`], /a greeting of \d+ bytes/],
    ['an event as text', ['40', '42["offload"]'], /a text message/],
    ['attachments', ['40', '451-["offload",{"_placeholder":true,"num":0}]'], /a text message/],
    ['a packet of engine.io without meaning', ['40', '6'], /a text message/],
    ['pongs without end', ['40', ...Array.from({ length: 50 }, () => '3')], /pings and pongs/],
  ])('%s ends it', async (_, messages, why) => {
    const { ingress } = await start();
    const socket = await raw(ingress, cars[0]!, ...messages);
    const [, reason] = (await once(socket, 'close')) as [number, Buffer];
    expect(String(reason)).toMatch(why);
    expect(ingress.clients).toBe(0);
  });

  test('that sends pings without end is ended; one or two are answered', async () => {
    const { ingress } = await start();
    const socket = await raw(ingress, cars[0]!, '40');
    socket.ping();
    await once(socket, 'pong');
    for (let count = 0; count < 100; count++) socket.ping();
    const [, reason] = (await once(socket, 'close')) as [number, Buffer];
    expect(String(reason)).toMatch(/pings and pongs/);
  });

  test('cannot be taken for another one, nor kept for requests', async () => {
    const { ingress } = await start();
    const first = await raw(ingress, cars[0]!);
    const [open] = (await once(first, 'message')) as [Buffer];
    const { sid } = JSON.parse(String(open).slice(1)) as { sid: string };
    const path = `/v2e/?EIO=4&transport=websocket&sid=${sid}`;
    const second = new WebSocket(`wss://127.0.0.1:${ingress.port}${path}`, tlsOptions(cars[1]!) as object);
    const [error] = (await once(second, 'error')) as [Error];
    expect(error.message).toMatch(/404/);

    const socket = tlsConnect({ port: ingress.port, host: '127.0.0.1', ...tlsOptions(cars[1]!) });
    let text = '';
    socket.on('data', (bytes) => {
      text += String(bytes);
    });
    socket.write('GET /v2e/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(3));
    await once(socket, 'close');
    expect(text.match(/HTTP\/1\.1 404/g)).toHaveLength(1);
  });

  test('that does not answer a close frame is cut off', async () => {
    const { ingress } = await start();
    const socket = await raw(ingress, cars[0]!);
    socket.pause();
    socket.send('40');
    socket.send('40');
    const transport = (socket as unknown as { _socket: NodeJS.EventEmitter & { resume(): void } })._socket;
    await vi.waitFor(() => expect(ingress.connections).toBe(0), { timeout: 4500, interval: 50 });
    transport.resume();
  });
});

describe('limits', () => {
  test('of connections: of one vehicle and of one tenant; the others get in, and one that leaves makes room', async () => {
    const { ingress } = await start({}, { connectionsPerVehicle: 2, connectionsPerTenant: 3 });
    const first = await connect(ingress, cars[0]!);
    await connect(ingress, cars[0]!);
    await expect(connect(ingress, cars[0]!)).rejects.toThrow(/vehicle car-1 has 2 connections to this broker already/);
    await connect(ingress, cars[1]!);
    await expect(connect(ingress, cars[1]!)).rejects.toThrow(/tenant ACME has 3 connections here already/);
    await connect(ingress, cars[2]!);
    first.disconnect();
    await vi.waitUntil(() => ingress.clients === 3);
    await connect(ingress, cars[0]!);
  });

  test('of connections: one that comes again and again in vain is left waiting, makes room first, and gets in later', async () => {
    const clients = new ClientLog(silentLog(), new RecentErrors(10));
    const refused = vi.spyOn(clients, 'refused');
    const { ingress } = await start({ clients, maxClients: 3 }, { connectionsPerVehicle: 1 });
    const first = await connect(ingress, cars[0]!);
    const isHeld = () => refused.mock.lastCall?.[1].context.told === false;
    let asked = 0;
    let ended = 0;
    while (!isHeld()) {
      asked++;
      connect(ingress, cars[0]!).catch(() => ended++);
      await vi.waitUntil(() => refused.mock.calls.length === asked);
      if (!isHeld()) await vi.waitUntil(() => ended === asked && ingress.connections === 1);
    }
    expect(asked).toBeGreaterThan(20);
    first.disconnect();
    await vi.waitUntil(() => ingress.clients === 0);
    await connect(ingress, cars[0]!);
    await connect(ingress, cars[1]!);
    // It is still there, and nobody has told it anything.
    expect([ingress.clients, ingress.connections, ended]).toEqual([2, 3, asked - 1]);
    await connect(ingress, cars[2]!);
    await vi.waitUntil(() => ended === asked);
    expect([ingress.clients, ingress.connections]).toEqual([3, 3]);
  });

  test('a vehicle that holds all it may have keeps nobody out', async () => {
    const { ingress } = await start({ maxClients: 40 }, { connectionsPerVehicle: 30 });
    const kept = Array.from({ length: 35 }, () => raw(ingress, cars[0]!, '40').catch(() => undefined));
    await Promise.all(kept);
    const socket = await connect(ingress, cars[2]!);
    expect(socket.connected).toBe(true);
  });

  test('of bytes in flight: what waits for room in vain is refused by name; the other vehicle is not', async () => {
    const { ingress, open } = await start({}, { bytesInFlight: 3 * MIB });
    const [socket, other] = [await connect(ingress, cars[0]!), await connect(ingress, cars[1]!)];
    const replies = [1, 2, 3].map(async (n) =>
      OffloadReply.decode(await asked(socket, 'offload', request(`o${n}`, MIB))),
    );
    const refused = await Promise.race(replies);
    expect(refused.refusal).toMatchObject({ code: ErrorCode.QuotaSpent, reason: 'quota', quota: 'bytes_in_flight' });
    expect(refused.id).toBe('o3');
    const small = asked(other, 'offload', request('s', 100_000));
    await vi.waitUntil(() => open.length === 3);
    for (const { answer } of open) answer(result(1), undefined);
    expect(OffloadReply.decode(await small).result).toBeTruthy();
    expect((await Promise.all(replies)).filter((reply) => reply.result != null)).toHaveLength(2);
    // All that was held is given back.
    const again = [4, 5].map((n) => asked(socket, 'offload', request(`o${n}`, MIB)));
    await vi.waitUntil(() => open.length === 5);
    for (const { answer } of open.slice(3)) answer(result(1), undefined);
    await Promise.all(again);
  });

  test('of requests: they wait for their turn; those that wait for too long are refused by name', async () => {
    let submitted = 0;
    const submit: IngressOptions['submit'] = (_offload, answer) => {
      submitted++;
      answer(result(1), undefined);
    };
    const { ingress } = await start({ submit }, { requestsPerSecond: 5 });
    const socket = await connect(ingress, cars[0]!);
    const all = Array.from({ length: 30 }, (_, n) => asked(socket, 'offload', request(`r${n}`)));
    const replies = (await Promise.all(all)).map((bytes) => OffloadReply.decode(bytes));
    const refused = replies.flatMap((reply) => (reply.refusal == null ? [] : [reply.refusal]));
    expect(refused[0]).toMatchObject({ code: ErrorCode.QuotaSpent, quota: 'requests_per_second' });
    expect(refused[0]!.retryAfterMs).toBeGreaterThan(0);
    expect(submitted).toBeGreaterThanOrEqual(5);
    expect(submitted + refused.length).toBe(30);
  });

  test('of unread answers: they are bounded, and then the connection is ended', async () => {
    const { ingress, open, errors } = await start({}, { unreadBytes: 2 * MIB });
    const socket = await raw(ingress, cars[0]!, '40');
    await vi.waitUntil(() => ingress.clients === 1);
    socket.pause();
    for (let n = 0; n < 40; n++) socket.send(eventOf('offload', n, request(`u${n}`)));
    await vi.waitUntil(() => open.length === 40);
    const other = await connect(ingress, cars[2]!);
    for (const { answer } of open) answer(result(MIB), undefined);
    await vi.waitUntil(() => ingress.clients === 1);
    expect(errors.list()).toEqual([expect.objectContaining({ code: ErrorCode.QuotaSpent, source: 'vehicle car-1' })]);
    expect(other.connected).toBe(true);
  });

  test('of messages without an end', async () => {
    const { ingress, errors } = await start({}, { bytesInFlight: MIB, connectionsPerVehicle: 8 });
    const sockets = await Promise.all([1, 2, 3].map(() => raw(ingress, cars[0]!, '40')));
    await vi.waitUntil(() => ingress.clients === 3);
    // A vehicle may have one message of 4 MiB under way, plus its framing.
    for (const socket of sockets) socket.send(Buffer.alloc(1_500_000), { fin: false });
    await vi.waitUntil(() => ingress.clients < 3);
    expect(errors.list()[0]).toMatchObject({ message: expect.stringMatching(/bytes of messages without an end/) });
  });
});

describe('a certificate that is good no more', () => {
  const brokerWith = async (files: Record<string, string>) => {
    const dir = mkdtempSync(join(root, 'b'));
    const credentials = await issueCertificate(fresh, { kind: 'broker', id: 'rsu-1', hosts: [] });
    await writeIdentity(dir, credentials, fresh.certificate);
    for (const [name, text] of Object.entries(files)) writeFileSync(join(dir, name), text);
    return await loadIdentity(dir, 'broker');
  };

  test('revoked: its links end at once, with a refusal for what they have open, and it gets in no more', async () => {
    const { ingress, open, lost, errors } = await start();
    const [stolen, good] = [await connect(ingress, cars[1]!), await connect(ingress, cars[2]!)];
    const waiting = asked(stolen, 'offload', request('x'));
    await vi.waitUntil(() => open.length === 1);
    const gone = once(stolen as unknown as NodeJS.EventEmitter, 'disconnect');
    const { serialNumber } = parseCertificate(cars[1]!.certificate, '');
    const list = await createRevocationList(fresh, new Map([[serialNumber, new Date()]]));
    ingress.renew(await brokerWith({ 'crl.pem': list }));
    expect(OffloadReply.decode(await waiting)).toMatchObject({
      id: 'x',
      refusal: { code: ErrorCode.CertificateRevoked, reason: 'untrusted' },
    });
    await gone;
    expect(lost).toEqual([['x']]);
    await expect(connect(ingress, cars[1]!)).rejects.toThrow();
    expect(errors.list().at(-1)).toMatchObject({ code: ErrorCode.CertificateRevoked });
    open[0]!.answer(result(1), undefined);
    const answered = asked(good, 'offload', request('y'));
    await vi.waitUntil(() => open.length === 2);
    open[1]!.answer(result(1), undefined);
    expect(OffloadReply.decode(await answered).result).toBeTruthy();
  });

  test('of an authority that is gone: ends; of the new one: stays', async () => {
    const { ingress } = await start();
    const [before, after] = [await connect(ingress, cars[0]!), await connect(ingress, cars[1]!)];
    const gone = once(before as unknown as NodeJS.EventEmitter, 'disconnect');
    ingress.renew(await brokerWith({}));
    await gone;
    await expect(connect(ingress, cars[0]!)).rejects.toThrow();
    await connect(ingress, cars[1]!);
    expect(after.connected).toBe(true);
  });

  test('expired while it is connected: ends then, and not with its next message', async () => {
    const brief = await issueCertificate(fresh, { kind: 'vehicle', id: 'car-9', tenant: 'ACME' }, 1);
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 86_400_000 - 1500 });
    undo.push(() => vi.useRealTimers());
    const { ingress, open } = await start();
    const socket = await connect(ingress, brief);
    const waiting = asked(socket, 'offload', request('x'));
    await vi.waitUntil(() => open.length === 1);
    vi.setSystemTime(Date.now() + 3000);
    expect(OffloadReply.decode(await waiting).refusal).toMatchObject({
      code: ErrorCode.Unauthenticated,
      message: expect.stringMatching(/has expired/),
    });
  });

  test('a client that is not to be served any more is told, and ended', async () => {
    const refused = new Set<string>();
    const refusalOf = ({ tenant }: VehiclePrincipal) =>
      refused.has(tenant) ? new KerbError(ErrorCode.TaskForbidden, `tenant ${tenant} is not served here`) : undefined;
    const { ingress } = await start({ refusalOf });
    const socket = await connect(ingress, cars[2]!);
    refused.add('Other');
    const gone = once(socket as unknown as NodeJS.EventEmitter, 'disconnect');
    ingress.review();
    await gone;
    await expect(connect(ingress, cars[2]!)).rejects.toThrow(/tenant Other is not served here/);
  });
});

describe('events of version 2', () => {
  test('cancel: by id, told whether there was one', async () => {
    const { ingress, cancelled } = await start();
    const socket = await connect(ingress, cars[0]!);
    const cancel = async (id: string) =>
      CancelReply.decode(await asked(socket, 'cancel', CancelRequest.encode({ id }).finish()));
    expect((await cancel('a/1')).state).toBe(0);
    expect((await cancel('unknown')).state).toBe(1);
    expect((await cancel('a b')).refusal).toMatchObject({ code: ErrorCode.BadOffloadRequest, reason: 'bad_request' });
    expect(CancelReply.decode(await asked(socket, 'cancel', Buffer.alloc(20, 0xff))).refusal?.code).toBe(
      ErrorCode.BadOffloadRequest,
    );
    expect(cancelled).toEqual(['a/1', 'unknown']);
  });

  test('a link that is lost names the offloads that nobody has answered on it', async () => {
    const { ingress, open, lost } = await start();
    const socket = await connect(ingress, cars[0]!);
    const answered = asked(socket, 'offload', request('done'));
    await vi.waitUntil(() => open.length === 1);
    open[0]!.answer(result(1), undefined);
    await answered;
    void asked(socket, 'offload', request('open')).catch(() => {});
    await vi.waitUntil(() => open.length === 2);
    socket.disconnect();
    await vi.waitUntil(() => lost.length === 1);
    expect(lost).toEqual([['open']]);
    // Too late, and no harm.
    open[1]!.answer(undefined, refusal(ErrorCode.OffloadCancelled, 'cancelled'));
  });

  test('state: few at a time of one connection, and none of a client of version 1', async () => {
    const gate = Promise.withResolvers<void>();
    const { ingress } = await start({
      state: async () => {
        await gate.promise;
        return { entry: { version: 7, expiresInMs: 0.5 } };
      },
    });
    const bytes = StateRequest.encode({ state: { home: 'rsu-1', key: 'k' }, task: 'count', operation: 1 }).finish();
    const socket = await connect(ingress, cars[0]!);
    const ask = async () => StateReply.decode(await asked(socket, 'state', bytes));
    const taken = Array.from({ length: 32 }, ask);
    expect((await ask()).refusal).toMatchObject({ code: ErrorCode.QuotaSpent, quota: 'state_requests' });
    gate.resolve();
    for (const { entry } of await Promise.all(taken)) {
      expect([Number(entry?.version), Number(entry?.expiresInMs)]).toEqual([7, 1]);
    }
    expect(Number((await ask()).entry?.version)).toBe(7);
    const old = await connect(ingress, cars[1]!, 1);
    expect(StateReply.decode(await asked(old, 'state', bytes)).refusal).toMatchObject({
      code: ErrorCode.NotSupported,
      message: expect.stringMatching(/version 1 of V2E has no "state"/),
    });
  });

  test('describe: by digest or name and range, and a refusal as such', async () => {
    const queries: TaskQuery[] = [];
    const files = [{ path: 'index.json', bytes: Buffer.from('{}') }];
    const { ingress } = await start({
      describe: async (_client, query) => {
        queries.push(query);
        if ('name' in query && query.name === 'none') throw new KerbError(ErrorCode.UnknownPackage, 'no such task');
        return { digest: TASK, files };
      },
    });
    const socket = await connect(ingress, cars[0]!);
    const ask = async (query: object) =>
      DescribeReply.decode(await asked(socket, 'describe', DescribeRequest.encode(query).finish()));
    expect((await ask({ taskDigest: TASK })).task).toMatchObject({ digest: TASK, files: [{ path: 'index.json' }] });
    expect((await ask({ name: 'lane', range: '^1.2' })).task?.digest).toBe(TASK);
    expect((await ask({ name: 'none' })).refusal).toMatchObject({
      code: ErrorCode.UnknownPackage,
      reason: 'unknown_task',
    });
    expect(queries.slice(0, 2)).toEqual([{ digest: TASK }, { name: 'lane', range: '^1.2' }]);
    for (const bad of [
      {},
      { taskDigest: 'x' },
      { name: '../x' },
      { name: 'a', range: '^one' },
      { taskDigest: TASK, name: 'a' },
    ]) {
      expect((await ask(bad)).refusal?.code, JSON.stringify(bad)).toBe(ErrorCode.BadOffloadRequest);
    }
  });

  test('what nobody does yet is refused, and not left unanswered', async () => {
    const { ingress } = await start();
    const socket = await connect(ingress, cars[0]!);
    const notSupported = { code: ErrorCode.NotSupported, reason: 'not_supported' };
    expect(OfferReply.decode(await asked(socket, 'offer', Buffer.alloc(0))).reply?.refusal).toMatchObject(notSupported);
    expect(OffloadReply.decode(await asked(socket, 'nonsense', Buffer.alloc(0))).refusal).toMatchObject(notSupported);
    const first = await connect(ingress, cars[1]!, 1);
    const cancel = await asked(first, 'cancel', CancelRequest.encode({ id: 'a' }).finish());
    expect(CancelReply.decode(cancel).refusal).toMatchObject(notSupported);
    const claim = ClaimRequest.encode({ id: 'a', broker: 'rsu-2', budgetMs: 100 }).finish();
    expect(OffloadReply.decode(await asked(first, 'claim', claim)).refusal).toMatchObject(notSupported);
    for (const event of ['chunk', 'credit'])
      expect(ChunkReply.decode(await asked(first, event, Buffer.alloc(0))).refusal, event).toMatchObject(notSupported);
    const gone = once(socket as unknown as NodeJS.EventEmitter, 'disconnect');
    socket.emit('claim', Buffer.alloc(0));
    await gone;
  });

  test('claim: what is not one is refused, and the connection stays', async () => {
    const { ingress } = await start();
    const socket = await connect(ingress, cars[0]!);
    const claim = { id: 'a', broker: 'rsu-2', token: Buffer.from('t'), budgetMs: 100, isolation: 'vm' };
    const bad = [{ id: 'a b' }, { broker: '../x' }, { budgetMs: Number.NaN }, { budgetMs: 1e9 }, { isolation: 'none' }];
    const messages = bad.map((change) => ClaimRequest.encode({ ...claim, ...change }).finish());
    for (const bytes of [Buffer.alloc(0), Buffer.alloc(40, 0xff), ...messages]) {
      const { refusal } = OffloadReply.decode(await asked(socket, 'claim', bytes));
      expect(refusal).toMatchObject({ code: ErrorCode.BadOffloadRequest });
    }
    const reply = OffloadReply.decode(await asked(socket, 'claim', ClaimRequest.encode(claim).finish()));
    expect(reply).toMatchObject({ id: 'a', refusal: { code: ErrorCode.NoBroker } });
  });

  test('drain: told to clients of version 2, also to those that come later', async () => {
    const { ingress } = await start();
    const [second, first] = [await connect(ingress, cars[0]!), await connect(ingress, cars[1]!, 1)];
    const notices: [string, unknown][] = [];
    second.on('drain', (bytes: Uint8Array) => notices.push(['second', DrainNotice.decode(bytes).toJSON()]));
    first.on('drain', () => notices.push(['first', undefined]));
    ingress.drain(5000, ['rsu-2']);
    const late = io(`https://127.0.0.1:${ingress.port}`, {
      path: '/v2e',
      transports: ['websocket'],
      parser: v2eParser,
      agent: new Agent(tlsOptions(cars[2]!) as object) as unknown as string,
      forceNew: true,
      auth: { versions: [2] },
    });
    undo.push(() => late.disconnect());
    await once(late as unknown as NodeJS.EventEmitter, 'drain');
    expect(notices).toEqual([['second', { endsInMs: 5000, tryBrokers: ['rsu-2'] }]]);
  });

  test('an acknowledgement that is in use ends the connection, and the other is answered', async () => {
    const { ingress, open } = await start();
    const socket = await raw(ingress, cars[0]!, '40');
    await vi.waitUntil(() => ingress.clients === 1);
    socket.send(eventOf('offload', 3, request('a')));
    await vi.waitUntil(() => open.length === 1);
    socket.send(eventOf('offload', 3, request('b')));
    await once(socket, 'close');
    expect(open).toHaveLength(1);
  });
});

test('refusals show nothing of this host', async () => {
  const { ingress, open } = await start();
  const socket = await connect(ingress, cars[0]!);
  const answered = asked(socket, 'offload', request('x'));
  await vi.waitUntil(() => open.length === 1);
  const told = "ENOENT: no such file, open '/var/lib/kerbside/images/x.elf'\n\u001b[31mat 0x7ffd12345678";
  open[0]!.answer(undefined, refusal(ErrorCode.TenderUnavailable, told));
  const { refusal: found } = OffloadReply.decode(await answered);
  expect(found?.message).toBe("ENOENT: no such file, open '(a file)' [31mat (an address)");
});
