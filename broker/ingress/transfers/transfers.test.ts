import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { Agent } from 'node:https';
import { type AddressInfo, connect as connectTcp, createServer, type Socket as NetSocket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import { io, type Socket } from 'socket.io-client';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { RecentErrors } from '../../../shared/api/recent-errors.ts';
import { Deadline } from '../../../shared/base/deadline.ts';
import { ErrorCode } from '../../../shared/base/errors.ts';
import { silentLog } from '../../../shared/base/log.ts';
import { refusal } from '../../../shared/base/refusal.ts';
import { createAuthority, issueCertificate } from '../../../shared/identity/authority.ts';
import { writeIdentity } from '../../../shared/identity/files.ts';
import { loadIdentity } from '../../../shared/identity/x509-identity.ts';
import { CHUNK_BYTES, decodeCredit, encodeChunk, encodeCredit } from '../../../shared/protocol/chunks.ts';
import { kerbside } from '../../../shared/protocol/generated/v2e.js';
import type { RoutedOffload } from '../../../shared/protocol/offload-request.ts';
import { v2eClientOptions } from '../../../shared/protocol/v2e-socket.ts';
import { BrokerLink } from '../../../shared/v2e-client/broker-link.ts';
import type { Answer, IncomingOffload, TaskResult } from '../../offloads/offload.ts';
import { TransferMetrics } from '../../telemetry/transfer-metrics.ts';
import type { ClientLimits } from '../../tenants/policy.ts';
import { ClientLog } from '../client-log.ts';
import { encodeAnnouncement } from '../codec.ts';
import { Ingress } from '../ingress.ts';
import { TRANSFER_LIMITS, type TransferLimits } from './transfer-link.ts';

const { OffloadRequest, OffloadReply, ChunkReply, CancelRequest, CancelReply } = kerbside.v2e;
const TASK = `sha256:${'0'.repeat(64)}`;
const KIB = 1024;
const MIB = 1024 * KIB;
const LIMITS: ClientLimits = {
  connectionsPerVehicle: 32,
  connectionsPerTenant: 64,
  bytesInFlight: 64 * MIB,
  unreadBytes: 32 * MIB,
  requestsPerSecond: 10_000,
};

let root: string;
const undo: (() => unknown)[] = [];
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'kerb-transfers-'));
  const authority = await createAuthority('Test');
  const make = async (name: string, subject: Parameters<typeof issueCertificate>[1]) =>
    writeIdentity(join(root, name), await issueCertificate(authority, subject), authority.certificate);
  await Promise.all([
    make('broker', { kind: 'broker', id: 'rsu-1', hosts: [] }),
    make('car-1', { kind: 'vehicle', id: 'car-1', tenant: 'ACME' }),
    make('car-2', { kind: 'vehicle', id: 'car-2', tenant: 'Other' }),
  ]);
});
afterAll(() => rmSync(root, { recursive: true, force: true }));
afterEach(async () => {
  for (let step = undo.pop(); step !== undefined; step = undo.pop()) await step();
});

interface Started {
  readonly ingress: Ingress;
  /** Offloads that have arrived and are not answered yet. */
  readonly open: { offload: IncomingOffload; answer: Answer }[];
  readonly metric: (name: string, labels?: string) => Promise<number>;
  /** Ends announcements instead of wanting their bytes. */
  refuse: ReturnType<typeof refusal> | undefined;
  /** If there, announcements wait in it until they are called. */
  sought: (() => void)[] | undefined;
}

async function start(change: Partial<TransferLimits> = {}, limits: Partial<ClientLimits> = {}): Promise<Started> {
  const registry = new Registry();
  const started: Started = {
    ingress: undefined as unknown as Ingress,
    open: [],
    refuse: undefined,
    sought: undefined,
    metric: async (name, labels = '') => {
      const line = (await registry.metrics()).split('\n').find((one) => one.startsWith(`${name}${labels} `));
      return Number(line?.split(' ').at(-1));
    },
  };
  const ingress = new Ingress({
    identity: await loadIdentity(join(root, 'broker'), 'broker'),
    listen: { host: '127.0.0.1', port: 0 },
    maxInput: 32 * MIB,
    maxClients: 64,
    announcement: ({ version }) => {
      const tasks = [{ digest: TASK, name: 't', version: '1.0.0', maxInput: 32 * MIB, maxOutput: 32 * MIB }];
      const all = { broker: 'rsu-1', tasks, isolations: [], maxInput: 32 * MIB, queueMs: 0, freeTenders: 0 };
      return encodeAnnouncement(all, version);
    },
    limitsOf: () => ({ ...LIMITS, ...limits }),
    onConnected: () => () => {},
    refusalOf: () => undefined,
    submit: (offload, answer) => started.open.push({ offload, answer }),
    cancel: () => false,
    linkLost: () => {},
    announcements: () => new Uint8Array(0),
    claim: () => {},
    describe: () => Promise.reject(new Error('none')),
    transfers: {
      limits: { ...TRANSFER_LIMITS, maxBytes: 64 * MIB, maxJoined: 3, ...change },
      metrics: new TransferMetrics(registry),
      announce: (_offload, answer, want) => {
        if (started.sought !== undefined) started.sought.push(() => want(answer));
        else if (started.refuse === undefined) want(answer);
        else answer(undefined, started.refuse);
      },
      arrived: (offload, answer) => started.open.push({ offload, answer }),
    },
    state: async () => ({ entry: { version: 0, expiresInMs: 0 } }),
    pushes: () => ({ take: async (bytes) => bytes, end: async () => {} }),
    clients: new ClientLog(silentLog(), new RecentErrors(10)),
    log: silentLog(),
  });
  await ingress.start();
  undo.push(() => ingress.stop());
  return Object.assign(started, { ingress });
}

interface Raw {
  readonly socket: Socket;
  readonly credits: ReturnType<typeof decodeCredit>[];
  /** Announces an input; its answer. */
  announce(id: string, input: Uint8Array, more?: Parameters<typeof OffloadRequest.encode>[0]): Promise<Reply>;
  chunk(id: string, offset: number, data: Uint8Array): Promise<ReturnType<typeof ChunkReply.decode>>;
}
type Reply = ReturnType<typeof OffloadReply.decode>;

async function connect({ ingress }: Started, car = 'car-1'): Promise<Raw> {
  const identity = await loadIdentity(join(root, car), 'vehicle');
  const agent = new Agent(identity.clientOptions('rsu-1') as object);
  const socket = io(`https://127.0.0.1:${ingress.port}`, { ...v2eClientOptions(agent), reconnection: false });
  undo.push(() => socket.disconnect());
  const credits: Raw['credits'] = [];
  socket.on('credit', (bytes: Uint8Array) => credits.push(decodeCredit(bytes)));
  await new Promise<void>((resolve, reject) => {
    socket.once('hello', () => resolve());
    socket.once('connect_error', reject);
    socket.connect();
  });
  const ask = (event: string, bytes: Uint8Array) =>
    new Promise<Uint8Array>((resolve) => socket.emit(event, bytes, resolve));
  return {
    socket,
    credits,
    announce: async (id, input, more) => {
      const chunked = { size: input.length, sha256: createHash('sha256').update(input).digest() };
      const request = { id, taskDigest: TASK, budgetMs: 60_000, keepMs: 10_000, chunked, ...more };
      return OffloadReply.decode(await ask('offload', OffloadRequest.encode(request).finish()));
    },
    chunk: async (id, offset, data) =>
      ChunkReply.decode(await ask('chunk', encodeChunk({ id, output: false, offset, data }))),
  };
}

async function link({ ingress }: Started, port = ingress.port): Promise<BrokerLink> {
  const target = { id: 'rsu-1', url: `https://127.0.0.1:${port}` };
  const made = new BrokerLink({ target, identityTrouble: () => '', log: silentLog() });
  made.start(await loadIdentity(join(root, 'car-1'), 'vehicle'));
  undo.push(() => made.stop('the test is over'));
  await vi.waitFor(() => expect(made.connected).toBe(true));
  return made;
}

const TERMS = { serviceClass: 'normal', keepMs: 10_000, durable: false } as const;

function request(id: string, input: Uint8Array, budgetMs = 60_000): RoutedOffload {
  return { id, taskDigest: TASK, input, isolation: 'any', priority: 500, deadline: new Deadline(budgetMs) };
}

function resultOf(output: Buffer): TaskResult {
  return { output, queueMs: 1, startMs: 2, runMs: 3, cpuMs: 1, peakMemory: 0, isolation: 'process' };
}

const seen = <T>(what: () => T) => vi.waitFor(what, { timeout: 5000, interval: 5 });
const INPUT = randomBytes(MIB);

describe('a whole offload', () => {
  test('input and output of MiBs cross in chunks and come out as they were', async () => {
    const started = await start();
    const one = await link(started);
    const [large, other] = [randomBytes(5 * MIB + 1), randomBytes(3 * MIB)];
    const answers = [one.send(request('a', large), TERMS), one.send(request('b', other), TERMS)];
    await seen(() => expect(started.open).toHaveLength(2));
    for (const { offload, answer } of started.open) {
      expect(offload.inputDigest).toBe(createHash('sha256').update(offload.input).digest('base64'));
      answer(resultOf(Buffer.from(offload.input).reverse()), undefined);
    }
    const [a, b] = await Promise.all(answers);
    expect(Buffer.compare(a!.output, Buffer.from(large).reverse())).toBe(0);
    expect(Buffer.compare(b!.output, Buffer.from(other).reverse())).toBe(0);
    expect(a).toMatchObject({ queueMs: 1, runMs: 3, isolation: 'process', kept: false });
    expect(await started.metric('broker_transfer_bytes_total', '{direction="input"}')).toBe(8 * MIB + 1);
    expect(await started.metric('broker_transfer_bytes_total', '{direction="output"}')).toBe(8 * MIB + 1);
    expect(await started.metric('broker_transfers_total', '{direction="output",result="done"}')).toBe(2);
    expect(await started.metric('broker_transfer_bytes', '{direction="input"}')).toBe(0);
    expect(await started.metric('broker_transfer_bytes', '{direction="output"}')).toBe(0);
  });

  test('around each threshold nothing is lost and nothing waits', async () => {
    const started = await start();
    const one = await link(started);
    for (const size of [128, 192, 256, 320, 512].flatMap((kib) => [kib * KIB, kib * KIB + 1])) {
      const input = INPUT.subarray(0, size);
      const answer = one.send(request(`of-${size}`, input), TERMS);
      await seen(() => expect(started.open.at(-1)?.offload.id).toBe(`of-${size}`));
      expect(Buffer.compare(started.open.at(-1)!.offload.input, input)).toBe(0);
      started.open.at(-1)!.answer(resultOf(Buffer.from(input)), undefined);
      expect(Buffer.compare((await answer).output, input), String(size)).toBe(0);
    }
  });

  test('what is small crosses whole, and so does a large output to a vehicle that takes no chunks', async () => {
    const started = await start();
    const one = await link(started);
    const answer = one.send(request('a', INPUT.subarray(0, 128 * KIB)), TERMS);
    await seen(() => expect(started.open).toHaveLength(1));
    started.open[0]!.answer(resultOf(Buffer.alloc(128 * KIB, 7)), undefined);
    expect((await answer).output).toEqual(Buffer.alloc(128 * KIB, 7));
    expect(await started.metric('broker_transfers_total', '{direction="output",result="done"}')).toBe(0);
  });

  test('what is refused is refused at its announcement: no byte is allowed', async () => {
    const started = await start();
    const car = await connect(started);
    started.refuse = refusal(ErrorCode.QueueFull, 'full', 7);
    expect((await car.announce('a', INPUT)).refusal).toMatchObject({ code: ErrorCode.QueueFull, retryAfterMs: 7 });
    expect(car.credits).toEqual([]);
    const one = await link(started);
    await expect(one.send(request('b', INPUT), TERMS)).rejects.toMatchObject({
      code: ErrorCode.OffloadRefused,
      context: { refusal: ErrorCode.QueueFull },
    });
  });

  test('a small offload is not behind a large one that waits for credit', async () => {
    const started = await start({ activePerVehicle: 1 });
    const car = await connect(started);
    void car.announce('stalls', INPUT);
    const one = await link(started);
    void one.send(request('waits', INPUT, 3000), TERMS).catch(() => {});
    const small = one.send(request('small', Buffer.from('x')), TERMS);
    await seen(() => expect(started.open.map(({ offload }) => offload.id)).toEqual(['small']));
    started.open[0]!.answer(resultOf(Buffer.from('y')), undefined);
    expect((await small).output).toEqual(Buffer.from('y'));
  });
});

describe('what cannot be used', () => {
  const data = INPUT.subarray(0, CHUNK_BYTES);
  test.each<[string, number, number, RegExp]>([
    ['out of order', INPUT.length, CHUNK_BYTES, /begins at 65536, and 0 bytes are here/],
    ['with a gap before its end', INPUT.length, 1, /begins at 1, and 0 bytes are here/],
    ['beyond the end', 50_000, 0, /more than the 50000 bytes that were announced/],
  ])('a chunk %s ends its offload, with one error, and nothing else', async (_name, size, offset, message) => {
    const started = await start();
    const car = await connect(started);
    const answer = car.announce('a', INPUT.subarray(0, size));
    await seen(() => expect(car.credits).toHaveLength(1));
    const bad = { code: ErrorCode.BadOffloadRequest, message: expect.stringMatching(message) };
    expect((await car.chunk('a', offset, data)).refusal).toMatchObject(bad);
    expect((await answer).refusal).toMatchObject(bad);
    expect(await started.metric('broker_transfers_total', '{direction="input",result="bad"}')).toBe(1);
    expect(await started.metric('broker_transfer_bytes', '{direction="input"}')).toBe(0);
    expect(car.socket.connected).toBe(true);
  });

  test('a chunk of an unknown id, without credit, or after the end, is refused and harms nobody', async () => {
    const started = await start({ activePerVehicle: 1 });
    const car = await connect(started);
    void car.announce('first', INPUT);
    void car.announce('waits', INPUT);
    await seen(() => expect(car.credits).toHaveLength(1));
    for (const id of ['unknown', 'waits']) {
      expect((await car.chunk(id, 0, data)).refusal).toMatchObject({ code: ErrorCode.BadOffloadRequest });
    }
    const other = await connect(started, 'car-2');
    expect((await other.chunk('first', 0, data)).refusal).toMatchObject({ code: ErrorCode.BadOffloadRequest });
    await sendAll(car, 'first', INPUT);
    expect((await car.chunk('first', INPUT.length, data)).refusal).toMatchObject({ code: ErrorCode.BadOffloadRequest });
    await seen(() => expect(started.open).toHaveLength(1));
    await sendAll(car, 'waits', INPUT);
    await seen(() => expect(started.open).toHaveLength(2));
    expect(await started.metric('broker_stray_chunks_total')).toBe(4);
  });

  test('who goes on and on with chunks of nothing loses the connection', async () => {
    const started = await start();
    const car = await connect(started);
    const gone = new Promise((resolve) => car.socket.once('disconnect', resolve));
    for (let n = 0; n < 1200; n++) {
      car.socket.emit('chunk', encodeChunk({ id: 'none', output: false, offset: 0, data: Buffer.alloc(1) }));
    }
    await gone;
  });

  test('a message that is neither a valid chunk nor a valid credit is refused', async () => {
    const started = await start();
    const car = await connect(started);
    for (const [event, bytes] of [
      ['chunk', Buffer.from([0xff])],
      ['chunk', encodeChunk({ id: '', output: false, offset: 0, data })],
      ['chunk', encodeChunk({ id: 'a', output: false, offset: 0, data: Buffer.alloc(0) })],
      ['chunk', encodeChunk({ id: 'a', output: false, offset: 0, data: INPUT.subarray(0, CHUNK_BYTES + 1) })],
      ['credit', Buffer.from([0xff])],
      ['credit', encodeCredit({ id: 'a b', output: true, bytes: 1, from: 0 })],
    ] as const) {
      const reply = await new Promise<Uint8Array>((resolve) => car.socket.emit(event, bytes, resolve));
      expect(ChunkReply.decode(reply).refusal).toMatchObject({ code: ErrorCode.BadOffloadRequest });
    }
  });

  test('another hash than was announced', async () => {
    const started = await start();
    const car = await connect(started);
    const answer = car.announce('a', INPUT);
    await seen(() => expect(car.credits).toHaveLength(1));
    await sendAll(car, 'a', Buffer.from(INPUT).fill(0, 0, 16));
    const message = expect.stringMatching(/the hash of its 1048576 bytes is not the one/);
    expect((await answer).refusal).toMatchObject({ code: ErrorCode.BadOffloadRequest, message });
    expect(started.open).toEqual([]);
  });

  test('too few: whoever stops sending is told so, and so is whoever spends the budget with it', async () => {
    const started = await start({ stallMs: 300 });
    const car = await connect(started);
    const answer = car.announce('a', INPUT);
    const late = car.announce('b', INPUT, { budgetMs: 100 });
    await seen(() => expect(car.credits).toHaveLength(2));
    await car.chunk('a', 0, data);
    expect((await late).refusal).toMatchObject({ code: ErrorCode.BudgetSpentInQueue });
    const message = expect.stringMatching(/65536 of 1048576 bytes are here/);
    expect((await answer).refusal).toMatchObject({ code: ErrorCode.TransferStalled, message });
    expect(await started.metric('broker_transfer_bytes', '{direction="input"}')).toBe(0);
  });

  test('many that are announced and stall: bounded in number, bytes and memory, and nobody else waits', async () => {
    const started = await start({ openPerVehicle: 20 }, { bytesInFlight: 24 * MIB });
    const car = await connect(started);
    const answers = Array.from({ length: 24 }, (_, n) => car.announce(`s-${n}`, INPUT));
    const refused = await Promise.all(answers.slice(20));
    for (const { refusal: why } of refused)
      expect(why).toMatchObject({ code: ErrorCode.QuotaSpent, quota: 'transfers' });
    const large = randomBytes(8 * MIB);
    expect((await car.announce('large', large)).refusal).toMatchObject({
      code: ErrorCode.QuotaSpent,
      quota: 'bytes_in_flight',
    });
    // Only those that may send hold memory.
    expect(await started.metric('broker_transfer_bytes', '{direction="input"}')).toBe(4 * MIB);
    expect(car.credits).toHaveLength(4);
    const other = await connect(started, 'car-2');
    void other.announce('mine', INPUT);
    await seen(() => expect(other.credits).toHaveLength(1));
    await sendAll(other, 'mine', INPUT);
    await seen(() => expect(started.open).toHaveLength(1));
  });

  test('of the memory, one tenant has half while there is none left; what waits comes when there is room', async () => {
    const started = await start({ maxBytes: 4 * MIB });
    const [car, other] = [await connect(started), await connect(started, 'car-2')];
    for (const id of ['a', 'b', 'c']) void car.announce(id, INPUT);
    for (const id of ['a', 'b', 'c']) void other.announce(id, INPUT);
    await seen(() => expect([car.credits.length, other.credits.length]).toEqual([2, 2]));
    await sendAll(car, 'a', INPUT);
    await seen(() => expect(car.credits.at(-1)).toMatchObject({ id: 'c', from: 0 }));
    expect(other.credits).toHaveLength(2);
  });
});

describe('cancel, join and resume', () => {
  test('a cancel while it is looked whether its bytes are needed: they are not asked for', async () => {
    const started = await start();
    started.sought = [];
    const car = await connect(started);
    const answer = car.announce('a', INPUT);
    await seen(() => expect(started.sought).toHaveLength(1));
    const bytes = await new Promise<Uint8Array>((resolve) =>
      car.socket.emit('cancel', CancelRequest.encode({ id: 'a' }).finish(), resolve),
    );
    expect(CancelReply.decode(bytes).state).toBe(0);
    started.sought[0]!();
    expect((await answer).refusal).toMatchObject({ code: ErrorCode.OffloadCancelled });
    expect(car.credits).toHaveLength(0);

    // The same id is as good as any other afterwards.
    started.sought = undefined;
    void car.announce('a', INPUT);
    await seen(() => expect(car.credits).toHaveLength(1));
  });

  test('a cancel in the middle: a refusal, no memory, and chunks on their way are harmless', async () => {
    const started = await start();
    const car = await connect(started);
    const answer = car.announce('a', INPUT);
    await seen(() => expect(car.credits).toHaveLength(1));
    await car.chunk('a', 0, INPUT.subarray(0, CHUNK_BYTES));
    const cancel = (id: string) =>
      new Promise<Uint8Array>((resolve) => car.socket.emit('cancel', CancelRequest.encode({ id }).finish(), resolve));
    expect(CancelReply.decode(await cancel('a')).state).toBe(0);
    expect(CancelReply.decode(await cancel('a')).state).toBe(1);
    expect((await answer).refusal).toMatchObject({ code: ErrorCode.OffloadCancelled });
    expect((await car.chunk('a', CHUNK_BYTES, INPUT.subarray(0, 1))).refusal).not.toBeNull();
    expect(await started.metric('broker_transfer_bytes', '{direction="input"}')).toBe(0);

    const one = await link(started);
    const sent = one.send(request('b', randomBytes(16 * MIB)), TERMS);
    await seen(async () =>
      expect(await started.metric('broker_transfers', '{direction="input",state="active"}')).toBe(1),
    );
    one.cancel('b');
    await expect(sent).rejects.toMatchObject({ code: ErrorCode.Cancelled });
    await seen(async () => expect(await started.metric('broker_transfer_bytes', '{direction="input"}')).toBe(0));
  });

  test('the same id while it is on its way: one transfer, by whoever announced it last, and an answer for each', async () => {
    const started = await start();
    const [first, second] = [await connect(started), await connect(started)];
    const answers = [first.announce('a', INPUT), first.announce('a', INPUT)];
    await seen(() => expect(first.credits).toHaveLength(1));
    await first.chunk('a', 0, INPUT.subarray(0, CHUNK_BYTES));
    answers.push(second.announce('a', INPUT));
    await seen(() =>
      expect(second.credits).toMatchObject([{ id: 'a', from: CHUNK_BYTES, bytes: INPUT.length - CHUNK_BYTES }]),
    );
    expect((await first.chunk('a', CHUNK_BYTES, INPUT.subarray(0, 1))).refusal).not.toBeNull();
    const [fourth, other] = await Promise.all([first.announce('a', INPUT), second.announce('a', randomBytes(MIB))]);
    expect(fourth.refusal).toMatchObject({ code: ErrorCode.TooManyFromTenant });
    expect(other.refusal).toMatchObject({ code: ErrorCode.BadOffloadRequest });
    await sendAll(second, 'a', INPUT, CHUNK_BYTES);
    await seen(() => expect(started.open).toHaveLength(3));
    for (const { offload, answer } of started.open) {
      expect(Buffer.compare(offload.input, INPUT)).toBe(0);
      answer(resultOf(Buffer.from('done')), undefined);
    }
    for (const answer of answers) expect((await answer).result?.output).toEqual(Buffer.from('done'));
  });

  test('the one who sends is lost while another waits: that one goes on', async () => {
    const started = await start();
    const [first, second] = [await connect(started), await connect(started)];
    const answer = first.announce('a', INPUT);
    await seen(() => expect(first.credits).toHaveLength(1));
    void second.announce('a', INPUT);
    await seen(() => expect(second.credits).toHaveLength(1));
    await second.chunk('a', 0, INPUT.subarray(0, CHUNK_BYTES));
    second.socket.disconnect();
    await seen(() => expect(first.credits.at(-1)).toMatchObject({ from: CHUNK_BYTES }));
    await sendAll(first, 'a', INPUT, CHUNK_BYTES);
    await seen(() => expect(started.open).toHaveLength(1));
    started.open[0]!.answer(resultOf(Buffer.from('done')), undefined);
    expect((await answer).result?.output).toEqual(Buffer.from('done'));
  });

  test('an input that goes on is not behind one that waits for the memory that it holds', async () => {
    const started = await start({ maxBytes: 2 * MIB });
    const first = await connect(started);
    void first.announce('a', INPUT);
    await seen(() => expect(first.credits).toHaveLength(1));
    await first.chunk('a', 0, INPUT.subarray(0, CHUNK_BYTES));
    first.socket.disconnect();
    const state = (name: string) => started.metric('broker_transfers', `{direction="input",state="${name}"}`);
    await seen(async () => expect(await state('kept')).toBe(1));
    const second = await connect(started);
    void second.announce('b', INPUT);
    await seen(async () => expect(await state('waiting')).toBe(1));
    void second.announce('a', INPUT);
    await seen(() => expect(second.credits).toMatchObject([{ id: 'a', from: CHUNK_BYTES }]));
    await sendAll(second, 'a', INPUT, CHUNK_BYTES);
    await seen(() => expect(second.credits.at(-1)).toMatchObject({ id: 'b', from: 0 }));
  });

  test('an input whose connection is lost goes on where it was, for a while; with keep_ms 0 it does not', async () => {
    const started = await start({ resumeMs: 300 });
    const first = await connect(started);
    for (const [id, keepMs] of [
      ['kept', 10_000],
      ['not', 0],
      ['changed', 10_000],
    ] as const) {
      void first.announce(id, INPUT, { keepMs });
      await seen(() => expect(first.credits.at(-1)).toMatchObject({ id }));
      await first.chunk(id, 0, INPUT.subarray(0, CHUNK_BYTES));
    }
    first.socket.disconnect();
    const state = (name: string) => started.metric('broker_transfers', `{direction="input",state="${name}"}`);
    await seen(async () => expect([await state('kept'), await state('active')]).toEqual([2, 0]));
    const second = await connect(started);
    const changed = randomBytes(MIB);
    const inputs = { kept: INPUT, not: INPUT, changed };
    for (const [id, input] of Object.entries(inputs)) void second.announce(id, input);
    await seen(() => expect(second.credits).toHaveLength(3));
    const from = Object.fromEntries(second.credits.map((credit) => [credit.id, credit.from]));
    expect(from).toEqual({ kept: CHUNK_BYTES, not: 0, changed: 0 });
    for (const [id, input] of Object.entries(inputs)) await sendAll(second, id, input, from[id]);
    await seen(() => expect(started.open).toHaveLength(3));
    expect(await started.metric('broker_transfers_resumed_total', '{direction="input"}')).toBe(1);

    void second.announce('forgotten', INPUT);
    await seen(() => expect(second.credits.at(-1)).toMatchObject({ id: 'forgotten' }));
    await second.chunk('forgotten', 0, INPUT.subarray(0, CHUNK_BYTES));
    second.socket.disconnect();
    await seen(async () => expect(await started.metric('broker_transfer_bytes', '{direction="input"}')).toBe(0));
    expect(await state('kept')).toBe(0);
  });
});

describe('outputs', () => {
  const output = randomBytes(2 * MIB);
  /** An offload that is answered with a large output. */
  async function answered(started: Started, car: Raw, id: string): Promise<Reply> {
    const sent = OffloadRequest.encode({ id, taskDigest: TASK, budgetMs: 60_000, input: Buffer.from('x') }).finish();
    const reply = new Promise<Uint8Array>((resolve) => car.socket.emit('offload', sent, resolve));
    await seen(() => expect(started.open.at(-1)?.offload.id).toBe(id));
    started.open.at(-1)!.answer(resultOf(output), undefined);
    return OffloadReply.decode(await reply);
  }

  test('they come as far as there is credit, from where the vehicle says', async () => {
    const started = await start();
    const car = await connect(started);
    const { result } = await answered(started, car, 'a');
    expect(result).toMatchObject({ output: Buffer.alloc(0), runMs: 3 });
    expect(Number(result!.chunked!.size)).toBe(output.length);
    expect(Buffer.from(result!.chunked!.sha256!)).toEqual(createHash('sha256').update(output).digest());
    const chunks: Buffer[] = [];
    car.socket.on('chunk', (bytes: Uint8Array) => chunks.push(Buffer.from(kerbside.v2e.Chunk.decode(bytes).data)));
    const give = (bytes: number, from?: number) =>
      car.socket.emit('credit', encodeCredit({ id: 'a', output: true, bytes, from }));
    const came = () => chunks.reduce((sum, { length }) => sum + length, 0);
    give(5000); // before it is said where to begin
    give(100_000, 1000);
    await seen(() => expect(came()).toBe(100_000));
    give(50_000);
    await seen(() => expect(came()).toBe(150_000));
    expect(Buffer.compare(Buffer.concat(chunks), output.subarray(1000, 151_000))).toBe(0);
    give(2 ** 40);
    await seen(() => expect(came()).toBe(output.length - 1000));
    expect(await started.metric('broker_transfers_total', '{direction="output",result="done"}')).toBe(1);
  });

  test('one that is never fetched is let go, and many are too many for a tenant', async () => {
    const started = await start({ stallMs: 400 }, { bytesInFlight: 5 * MIB });
    const car = await connect(started);
    const replies = [];
    for (const id of ['a', 'b', 'c']) replies.push(await answered(started, car, id));
    expect(replies.map(({ outcome }) => outcome)).toEqual(['result', 'result', 'refusal']);
    expect(replies[2]!.refusal).toMatchObject({ code: ErrorCode.QuotaSpent, quota: 'bytes_in_flight' });
    await seen(async () => expect(await started.metric('broker_transfer_bytes', '{direction="output"}')).toBe(0));
    expect(await started.metric('broker_transfers_total', '{direction="output",result="stalled"}')).toBe(2);
  });

  test('an output whose connection is lost goes on where it was', async () => {
    const started = await start();
    const way = await relay(started.ingress.port);
    const one = await link(started, way.port);
    const large = randomBytes(24 * MIB);
    const first = one.send(request('a', Buffer.from('x')), TERMS);
    await seen(() => expect(started.open).toHaveLength(1));
    started.open[0]!.answer(resultOf(large), undefined);
    const moved = () => started.metric('broker_transfer_bytes_total', '{direction="output"}');
    await seen(async () => expect(await moved()).toBeGreaterThan(MIB));
    way.cut();
    await expect(first).rejects.toMatchObject({ code: ErrorCode.BrokerLost });
    await seen(() => expect(one.connected).toBe(true));
    const again = one.send(request('a', Buffer.from('x')), TERMS);
    await seen(() => expect(started.open).toHaveLength(2));
    started.open[1]!.answer(resultOf(large), undefined);
    expect(Buffer.compare((await again).output, large)).toBe(0);
    expect(await started.metric('broker_transfers_resumed_total', '{direction="output"}')).toBe(1);
    expect(await moved()).toBeLessThan(2 * large.length);
  });
});

/** All from `at` on, as credit is given for it. */
async function sendAll(car: Raw, id: string, input: Uint8Array, at = 0): Promise<void> {
  for (let from = at; from < input.length; from += CHUNK_BYTES) {
    const { refusal: why } = await car.chunk(id, from, input.subarray(from, from + CHUNK_BYTES));
    expect(why).toBeNull();
  }
}

/** A way to the broker that can be cut, as a lost radio would. */
async function relay(port: number): Promise<{ readonly port: number; cut(): void }> {
  const open = new Set<NetSocket>();
  const server = createServer((near) => {
    const far = connectTcp(port, '127.0.0.1');
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      open.add(one);
      one.on('error', () => {}).on('close', () => other.destroy());
      one.pipe(other);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const cut = () => {
    for (const one of open) one.destroy();
    open.clear();
  };
  undo.push(() => {
    cut();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, cut };
}
