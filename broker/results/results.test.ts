import { createHash, generateKeyPairSync, randomBytes, X509Certificate } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { Deadline } from '../../shared/base/deadline.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import { silentLog } from '../../shared/base/log.ts';
import { type Credentials, createAuthority, issueCertificate } from '../../shared/identity/authority.ts';
import { writeIdentity } from '../../shared/identity/files.ts';
import type { Identity } from '../../shared/identity/identity.ts';
import { loadIdentity } from '../../shared/identity/x509-identity.ts';
import { kerbside } from '../../shared/protocol/generated/v2e.js';
import { verifyReceipt } from '../../shared/v2e-client/receipt.ts';
import type { IncomingOffload, PendingOffload, TaskResult } from '../offloads/offload.ts';
import { ResultMetrics } from '../telemetry/result-metrics.ts';
import type { ResultLimits } from '../tenants/policy.ts';
import { ReceiptSigner } from './receipt-signer.ts';
import { ResultStore } from './result-store.ts';
import { Results } from './results.ts';

let root: string;
let identity: Identity;
let authority: Credentials;
let stateDir: string;
const undo: (() => unknown)[] = [];

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'kerb-results-'));
  authority = await createAuthority('Test CA');
  const issued = await issueCertificate(authority, { kind: 'broker', id: 'rsu-1', hosts: [] });
  await writeIdentity(join(root, 'identity'), issued, authority.certificate);
  identity = await loadIdentity(join(root, 'identity'), 'broker');
});
beforeEach(() => {
  stateDir = mkdtempSync(join(root, 'state-'));
});
afterEach(async () => {
  for (let step = undo.pop(); step !== undefined; step = undo.pop()) await step();
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

interface Options {
  readonly limits?: Partial<ResultLimits>;
  readonly identity?: Identity;
  /** Without it, nothing goes to the disk. */
  readonly disk?: boolean;
}

async function scene(options: Options = {}) {
  const registry = new Registry();
  const log = silentLog();
  const limits = { count: 100, bytes: 1e6, keepMs: 3_600_000, ...options.limits };
  const results = new Results({
    broker: 'rsu-1',
    limitsOf: () => limits,
    totals: { count: 1000, memory: 1e7, disk: 1e7 },
    receipts: new ReceiptSigner({ identity: options.identity ?? identity, onSigned: () => {}, log }),
    metrics: new ResultMetrics(registry),
  });
  let stop = async () => results.stop();
  if (options.disk !== false) {
    const store = new ResultStore({
      folder: join(stateDir, 'results'),
      onOpened: (rows) => results.kept.load(rows),
      onTrouble: () => {},
      onCommit: () => {},
      log,
    });
    results.kept.useStore(store);
    await store.start();
    stop = async () => {
      await store.stop();
      results.stop();
    };
  }
  undo.push(stop);
  const metric = async (name: string, labels: Record<string, string> = {}) => {
    const values = (await registry.getSingleMetric(name)!.get()).values;
    return values.filter((one) => Object.entries(labels).every(([key, value]) => one.labels[key] === value))[0]?.value;
  };
  return { results, metric, stop };
}

function offload(more: Partial<IncomingOffload> = {}): IncomingOffload {
  return {
    tenant: 'ACME',
    vehicle: 'car-1',
    id: 'o/1',
    taskDigest: 'sha256:a',
    input: Buffer.from('picture'),
    isolation: 'any',
    deadline: new Deadline(60_000),
    priority: 500,
    serviceClass: 'normal',
    keepMs: 60_000,
    durable: true,
    dwellMs: Infinity,
    wantReceipt: false,
    traceparent: '',
    ...more,
  };
}
const keyOf = ({ tenant, vehicle, id }: IncomingOffload) => `${tenant}\n${vehicle}\n${id}`;
const pendingOf = (one: IncomingOffload): PendingOffload => ({
  ...one,
  key: keyOf(one),
  callers: [],
  links: [],
  tender: 0,
  over: false,
});

function resultOf(output: Buffer): TaskResult {
  return { output, queueMs: 1, startMs: 2, runMs: 3, cpuMs: 4, peakMemory: 5, isolation: 'process' };
}

/** Runs it: resolves with what is given out. */
function run(results: Results, one: IncomingOffload, output = Buffer.from('output')): Promise<TaskResult> {
  const pending = pendingOf(one);
  expect(results.find(pending.key, one).found).toBe('nothing');
  results.begin(pending);
  return new Promise((resolve) => results.complete(pending, resultOf(output), performance.now() - 3, resolve));
}

/** Asks again: the kept result, the code of a refusal, or what else there is. */
async function ask(results: Results, one: IncomingOffload): Promise<TaskResult | number | string> {
  const known = results.find(keyOf(one), one);
  if (known.found !== 'result') return known.found;
  return await new Promise((resolve) => {
    results.give(
      known.result,
      one,
      (result, refusal) => resolve(result ?? refusal!.code),
      () => resolve('again'),
    );
  });
}

describe.each([
  ['on the disk', true],
  ['in memory', false],
])('a result that is kept %s', (_where, durable) => {
  test('is given to the same request, and to no other', async () => {
    const { results, metric } = await scene();
    const one = offload({ durable });
    expect((await run(results, one)).durable ?? false).toBe(durable);
    const again = await ask(results, offload({ durable, deadline: new Deadline(100) }));
    expect(again).toEqual({ ...resultOf(Buffer.from('output')), kept: true, durable });
    expect(await ask(results, offload({ input: Buffer.from('pictura') }))).toBe(ErrorCode.BadOffloadRequest);
    expect(await ask(results, offload({ taskDigest: 'sha256:b' }))).toBe('conflict');
    expect(await ask(results, offload({ isolation: 'vm' }))).toBe('conflict');
    for (const other of [{ id: 'o/2' }, { vehicle: 'car-2' }, { tenant: 'Other' }]) {
      expect(await ask(results, offload(other))).toBe('nothing');
    }
    expect(await metric('broker_results_kept_total', { place: durable ? 'disk' : 'memory' })).toBe(1);
    expect(await metric('broker_results_answered_total')).toBe(1);
  });

  test('is known by a large input too', async () => {
    const { results } = await scene();
    const input = randomBytes(600_000);
    await run(results, offload({ durable, input }));
    expect(await ask(results, offload({ input: Buffer.from(input) }))).toMatchObject({ kept: true });
    const other = Buffer.from(input);
    other[599_999]! ^= 1;
    expect(await ask(results, offload({ input: other }))).toBe(ErrorCode.BadOffloadRequest);
  });
});

test('what is on the disk is there after a restart, with what was refused before', async () => {
  const first = await scene();
  const large = randomBytes(200_000);
  await run(first.results, offload({ id: 'small' }));
  await run(first.results, offload({ id: 'large' }), large);
  await run(first.results, offload({ id: 'volatile', durable: false }));
  await run(first.results, offload({ id: 'none', keepMs: 0 }));
  await first.stop();

  const { results } = await scene();
  expect(results.kept.status()).toMatchObject({ count: 2, memoryBytes: 0, reason: '' });
  expect(await ask(results, offload({ id: 'small' }))).toEqual({
    ...resultOf(Buffer.from('output')),
    kept: true,
    durable: true,
  });
  const again = (await ask(results, offload({ id: 'large' }))) as TaskResult;
  expect(large.equals(again.output)).toBe(true);
  expect(await ask(results, offload({ id: 'small', input: Buffer.from('other') }))).toBe(ErrorCode.BadOffloadRequest);
  expect(await ask(results, offload({ id: 'small', taskDigest: 'sha256:b' }))).toBe('conflict');
  expect(await ask(results, offload({ id: 'volatile' }))).toBe('nothing');
  expect(await ask(results, offload({ id: 'none' }))).toBe('nothing');
});

test('a result that is not to be kept, or that failed, leaves nothing', async () => {
  const { results, metric } = await scene();
  await run(results, offload({ keepMs: 0 }));
  expect(results.kept.status()).toMatchObject({ count: 0, memoryBytes: 0, diskBytes: 0 });
  const failed = pendingOf(offload({ id: 'failed' }));
  results.begin(failed);
  results.forget(failed);
  await run(results, offload({ id: 'failed' }));
  // That one had not come to its end before; the other one has, and nothing of it is left.
  expect(await metric('broker_second_runs_total')).toBe(0);
  await run(results, offload({ keepMs: 0 }));
  expect(await metric('broker_second_runs_total')).toBe(1);
});

test('keep_ms 0 never touches the disk', async () => {
  const { results } = await scene();
  await run(results, offload({ keepMs: 0 }), randomBytes(200_000));
  await run(results, offload({ id: 'memory', durable: false }), randomBytes(200_000));
  expect(readdirSync(join(stateDir, 'results', 'outputs'))).toEqual([]);
  await run(results, offload({ id: 'disk' }), randomBytes(200_000));
  expect(readdirSync(join(stateDir, 'results', 'outputs'))).toHaveLength(1);
});

test('who joins is given the same, on the terms of all', async () => {
  const { results, metric } = await scene();
  const first = pendingOf(offload({ keepMs: 0 }));
  results.begin(first);
  expect(results.find(first.key, offload({ input: Buffer.from('other') })).found).toBe('conflict');
  expect(results.find(first.key, offload())).toEqual({ found: 'pending', pending: first });
  results.join(first, offload());
  const given = await new Promise<TaskResult>((resolve) => {
    results.complete(first, resultOf(Buffer.from('x')), performance.now(), resolve);
    // It is being written: it can still be joined.
    expect(results.find(first.key, offload()).found).toBe('pending');
    expect(results.pending).toBe(1);
  });
  expect(given.durable).toBe(true);
  expect(results.pending).toBe(0);
  expect(await ask(results, offload())).toMatchObject({ kept: true });
  expect(await metric('broker_offloads_joined_total')).toBe(1);
});

test('the oldest of the tenant go when its limits are reached, and a second run is counted', async () => {
  const { results, metric } = await scene({ limits: { count: 2 } });
  for (const id of ['1', '2', '3']) await run(results, offload({ id }));
  await run(results, offload({ id: '1', tenant: 'Other' }));
  expect(await ask(results, offload({ id: '1' }))).toBe('nothing');
  for (const id of ['2', '3']) expect(await ask(results, offload({ id }))).toMatchObject({ kept: true });
  await run(results, offload({ id: '1' }));
  expect(await metric('broker_second_runs_total')).toBe(1);
  expect(await metric('broker_results_ended_total', { reason: 'evicted' })).toBe(2);
  // What was evicted does not come back.
  await undo.pop()!();
  const { results: next } = await scene({ limits: { count: 2 } });
  expect(next.kept.status().count).toBe(3);
});

test('nothing is kept for longer than the policy has it, or beyond its bytes', async () => {
  const { results, metric } = await scene({ limits: { keepMs: 5, bytes: 2000 } });
  await run(results, offload());
  await run(results, offload({ id: 'large' }), Buffer.alloc(2000));
  expect(await ask(results, offload({ id: 'large' }))).toBe('nothing');
  await vi.waitUntil(async () => (await ask(results, offload())) === 'nothing', { timeout: 10_000 });
  const none = await scene({ disk: false, limits: { keepMs: 0 } });
  expect(await run(none.results, offload())).not.toMatchObject({ durable: true });
  expect(none.results.kept.status().count).toBe(0);
  expect(await metric('broker_results_ended_total', { reason: 'expired' })).toBe(1);
});

test('a result that is lost on the disk is run again, and counted', async () => {
  const { results, metric } = await scene();
  await run(results, offload(), randomBytes(100_000));
  const [file] = readdirSync(join(stateDir, 'results', 'outputs'));
  rmSync(join(stateDir, 'results', 'outputs', file!));
  expect(await ask(results, offload())).toBe('again');
  await run(results, offload(), Buffer.from('second'));
  expect(await metric('broker_second_runs_total')).toBe(1);
  expect(await metric('broker_results_ended_total', { reason: 'lost' })).toBe(1);
  expect(await ask(results, offload())).toMatchObject({ output: Buffer.from('second') });
});

test('a caller does not wait for the disk beyond its budget', async () => {
  const { results } = await scene();
  const given = await run(results, offload({ deadline: new Deadline(0) }), randomBytes(5_000_000).subarray(0, 900_000));
  expect(given.output).toHaveLength(900_000);
  // Sooner or later it is on the disk all the same.
  await vi.waitUntil(() => results.kept.status().diskBytes > 900_000, { timeout: 10_000 });
  expect(await ask(results, offload())).toMatchObject({ kept: true, durable: true });
});

test('who joins with more time while it is written has that time for the disk', async () => {
  const { results } = await scene();
  const pending = pendingOf(offload({ deadline: new Deadline(0) }));
  results.begin(pending);
  const given = await new Promise<TaskResult>((resolve) => {
    results.complete(pending, resultOf(randomBytes(900_000)), performance.now(), resolve);
    pending.deadline = new Deadline(60_000);
  });
  expect(given.durable).toBe(true);
});

test('what is on the disk when nobody waits for it any more leaves the disk', async () => {
  const { results } = await scene();
  const pending = pendingOf(offload());
  results.begin(pending);
  await new Promise<TaskResult>((resolve) => {
    results.complete(pending, resultOf(randomBytes(200_000)), performance.now(), resolve);
    pending.over = true;
    results.forget(pending);
  });
  await vi.waitUntil(() => readdirSync(join(stateDir, 'results', 'outputs')).length === 0, { timeout: 10_000 });
  expect(await ask(results, offload())).toBe('nothing');
});

describe('a receipt', () => {
  const checks = () => ({
    authorities: [new X509Certificate(authority.certificate)],
    inputSha256: createHash('sha256').update('picture').digest(),
    outputSha256: createHash('sha256').update('output').digest(),
  });
  const bytesOf = (result: unknown) => kerbside.v2e.SignedReceipt.encode((result as TaskResult).receipt!).finish();

  test.each([true, false])(
    'says what was run, and is the same for whoever asks again (durable: %s)',
    async (durable) => {
      const { results, stop } = await scene();
      const began = Date.now();
      const given = await run(results, offload({ wantReceipt: true, durable }));
      const { startedAt, ...facts } = verifyReceipt(bytesOf(given), checks());
      expect(facts).toMatchObject({
        ...{ broker: 'rsu-1', tenant: 'ACME', vehicle: 'car-1', id: 'o/1', taskDigest: 'sha256:a' },
        ...{ isolation: 'process', queueMs: 1, runMs: 3, cpuMs: 4, batch: 1 },
      });
      expect(Math.abs(startedAt - began)).toBeLessThan(60_000);
      expect(bytesOf(await ask(results, offload({ wantReceipt: true })))).toEqual(bytesOf(given));
      expect(await ask(results, offload())).not.toHaveProperty('receipt');
      if (!durable) return;
      await stop();
      const next = await scene();
      expect(bytesOf(await ask(next.results, offload({ wantReceipt: true })))).toEqual(bytesOf(given));
    },
  );

  test.each([true, false])(
    'is made for a result that was run for a caller who wanted none (durable: %s)',
    async (durable) => {
      const { results } = await scene();
      expect(await run(results, offload({ durable }))).not.toHaveProperty('receipt');
      const receipt = bytesOf(await ask(results, offload({ wantReceipt: true })));
      expect(verifyReceipt(receipt, checks())).toMatchObject({ id: 'o/1' });
      expect(bytesOf(await ask(results, offload({ wantReceipt: true })))).toEqual(receipt);
    },
  );

  test.each([
    ['while it is signed', { keepMs: 0, durable: false, wantReceipt: true }],
    ['while it is written', {}],
  ])('is given to who joins %s, and kept for as long as that one wants', async (_when, first) => {
    const { results } = await scene();
    const pending = pendingOf(offload(first));
    results.begin(pending);
    const given = await new Promise<TaskResult>((resolve) => {
      results.complete(pending, resultOf(Buffer.from('output')), performance.now(), resolve);
      results.join(pending, offload({ keepMs: 600_000, wantReceipt: true }));
    });
    expect(given.durable).toBe(true);
    expect(verifyReceipt(bytesOf(given), checks())).toMatchObject({ id: 'o/1' });
    expect(bytesOf(await ask(results, offload({ wantReceipt: true })))).toEqual(bytesOf(given));
    const known = results.find(keyOf(offload()), offload());
    expect(known).toMatchObject({ found: 'result', result: { keepMs: 600_000 } });
    // On the disk it is the same.
    await undo.pop()!();
    const next = await scene();
    expect(bytesOf(await ask(next.results, offload({ wantReceipt: true })))).toEqual(bytesOf(given));
    expect(next.results.find(keyOf(offload()), offload())).toMatchObject({ result: { keepMs: 600_000 } });
  });

  test('many at once have few signatures, and each is good', async () => {
    const { results } = await scene({ disk: false });
    const ids = Array.from({ length: 40 }, (_, i) => `o/${i}`);
    const given = await Promise.all(ids.map((id) => run(results, offload({ id, keepMs: 0, wantReceipt: true }))));
    const verified = given.map((one) => verifyReceipt(bytesOf(one), checks()));
    expect(verified.map(({ id }) => id)).toEqual(ids);
    expect(new Set(given.map(({ receipt }) => Buffer.from(receipt!.signature).toString('hex'))).size).toBeLessThan(40);
  });

  test('is refused where the key does not sign', async () => {
    const { privateKey: key } = generateKeyPairSync('x25519');
    const signingKey = () => ({ ...identity.signingKey(), key });
    const { results } = await scene({
      disk: false,
      identity: { ...identity, self: identity.self, signingKey } as Identity,
    });
    expect(results.refusal(offload({ wantReceipt: true }))).toMatchObject({ code: ErrorCode.NotSupported });
    expect(results.refusal(offload())).toBeUndefined();
  });
});
