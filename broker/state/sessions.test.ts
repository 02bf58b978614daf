import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { callControl, getControl } from '../../shared/api/control-client.ts';
import { Deadline } from '../../shared/base/deadline.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import { buildTaskPackage } from '../../shared/task-package/writer.ts';
import type { BrokerLink } from '../../shared/v2e-client/broker-link.ts';
import type { CallerTerms } from '../../shared/v2e-client/offload-result.ts';
import { BrokerScene } from '../../test/support/broker/broker-scene.ts';
import { CounterTender } from '../../test/support/broker/counter-tender.ts';
import { fakeImage } from '../../test/support/fake-image.ts';
import { type BrokerConfig, DEFAULT_LIMITS } from '../config.ts';

const scene = new BrokerScene();
let packagesDir: string;
let counter: string;
let echo: string;
let tenders: CounterTender[] = [];
let made = 0;

beforeAll(async () => {
  packagesDir = mkdtempSync(join(tmpdir(), 'kerb-state-'));
  const common = { version: '1', isolation: 'any' } as const;
  const images = [fakeImage({ name: 'counter', maxInput: 256, maxOutput: 256 })];
  counter = await buildTaskPackage(join(packagesDir, 'counter'), { ...common, images, state: { maxBytes: 64 } });
  echo = await buildTaskPackage(join(packagesDir, 'echo'), { ...common, images: [fakeImage()] });
});
afterAll(() => {
  scene.remove();
  rmSync(packagesDir, { recursive: true, force: true });
});
afterEach(() => scene.stop());

async function start(config: Partial<BrokerConfig> = {}, policy?: string) {
  tenders = [];
  const policyFile = policy === undefined ? undefined : join(scene.root, `policy-${made++}.yaml`);
  if (policyFile !== undefined) writeFileSync(policyFile, policy!);
  const parts = {
    createTender: () => {
      const tender = new CounterTender();
      tenders.push(tender);
      return tender;
    },
  };
  return await scene.start({ packagesDir, ...(policyFile && { policyFile }), ...config }, undefined, parts);
}

interface Ask extends Partial<CallerTerms> {
  readonly id?: string;
  readonly input?: string;
  readonly key?: string;
  readonly home?: string;
  readonly tenant?: string;
  readonly task?: string;
  readonly budgetMs?: number;
}

async function count(link: BrokerLink, ask: Ask = {}) {
  const { id = `c${made++}`, input = 'more', key = 'trip', home = 'rsu-1', tenant, task = counter, ...terms } = ask;
  const result = await link.send(
    {
      ...{ id, input: Buffer.from(input), isolation: 'any', taskDigest: task, priority: 500 },
      deadline: new Deadline(ask.budgetMs ?? 30_000),
    },
    { serviceClass: 'normal', keepMs: 1000, durable: false, state: { home, key, tenant }, ...terms },
  );
  return { ...result, text: Buffer.from(result.output).toString() };
}

const refusedWith = (code: number, message: RegExp) => ({
  message: expect.stringMatching(message),
  context: expect.objectContaining({ refusal: code }),
});

test('a task gets the state of its session and gives the next one, one offload after the other', async () => {
  const { broker } = await start({ limits: { ...DEFAULT_LIMITS, maxTendersPerTask: 3 } });
  const link = await scene.vehicle(broker);
  expect(link.offers.find(({ name }) => name === 'counter')).toMatchObject({ hasState: true, maxInput: 176 });
  const all = await Promise.all(Array.from({ length: 20 }, () => count(link)));
  expect(all.map(({ text }) => Number(text)).sort((a, b) => a - b)).toEqual(
    Array.from({ length: 20 }, (_, i) => i + 1),
  );
  expect((await count(link, { input: 'keep' })).text).toBe('20');
  expect((await count(link, { key: 'other' })).text).toBe('1');
  expect((await count(link, { input: 'remove' })).text).toBe('20');
  expect((await count(link)).text).toBe('1');
});

test('the same id gets the same output and is applied once, also after a restart', async () => {
  const stateDir = join(scene.root, 'kept');
  const first = await start({ stateDir });
  const link = await scene.vehicle(first.broker);
  expect(await count(link, { id: 'a' })).toMatchObject({ text: '1', kept: false });
  expect(await count(link, { id: 'a' })).toMatchObject({ text: '1', kept: true });
  const same = [count(link, { id: 'b', input: 'wait' }), count(link, { id: 'b', input: 'wait' })];
  await expect(count(link, { id: 'a', key: 'other' })).rejects.toMatchObject(
    refusedWith(ErrorCode.BadOffloadRequest, /id a/),
  );
  await expect(count(link, { id: 'b', key: 'other' })).rejects.toMatchObject(
    refusedWith(ErrorCode.BadOffloadRequest, /id b/),
  );
  while (tenders.every(({ state }) => state !== 'Busy')) await new Promise(setImmediate);
  for (const tender of tenders) tender.go();
  expect((await Promise.all(same)).map(({ text }) => text)).toEqual(['2', '2']);
  await scene.stop();

  const { broker } = await start({ stateDir });
  const again = await scene.vehicle(broker);
  expect(await count(again, { id: 'a', wantReceipt: true })).toMatchObject({
    ...{ text: '1', kept: true, receipt: expect.any(Uint8Array), runMs: expect.closeTo(0.1) },
  });
  await expect(count(again, { id: 'b', input: 'more' })).rejects.toMatchObject(
    refusedWith(ErrorCode.BadOffloadRequest, /id b belongs to another offload/),
  );
  await expect(count(again, { id: 'b', input: 'wait', key: 'other' })).rejects.toMatchObject(
    refusedWith(ErrorCode.BadOffloadRequest, /id b belongs to another offload/),
  );
  expect((await count(again)).text).toBe('3');
});

test('what is not right is refused by name, and changes nothing', async () => {
  const { broker } = await start();
  const link = await scene.vehicle(broker);
  const refused: readonly [Ask, number, RegExp][] = [
    [{ state: undefined }, ErrorCode.BadOffloadRequest, /counter keeps the state .* name the key/],
    [{ task: echo }, ErrorCode.BadOffloadRequest, /echo takes no state/],
    [{ home: 'cloud-1' }, ErrorCode.StateElsewhere, /kept by broker cloud-1, and this is broker rsu-1/],
    [{ key: 'two words' }, ErrorCode.BadOffloadRequest, /key of its state is not/],
    [{ home: '' }, ErrorCode.BadOffloadRequest, /home of its state is not/],
    [{ tenant: 'a\nb' }, ErrorCode.BadOffloadRequest, /tenant of its state/],
    [{ tenant: 'Other' }, ErrorCode.StateForbidden, /ACME may not use the key trip of tenant Other/],
    [{ input: 'huge' }, ErrorCode.StateTooLarge, /state of 1000 bytes; .* at most 64/],
    [{ input: 'bad' }, ErrorCode.GuestBadOutput, /does not begin with a state/],
    [{ input: 'x'.repeat(177) }, ErrorCode.InputTooLarge, /177 bytes/],
  ];
  for (const [ask, code, message] of refused) {
    const what = { message: expect.stringMatching(message) };
    await expect(count(link, ask)).rejects.toMatchObject(
      code === ErrorCode.InputTooLarge ? { code, ...what } : { context: { refusal: code }, ...what },
    );
  }
  expect((await count(link)).text).toBe('1');
});

describe('keys', () => {
  test('belong to one vehicle, and to others only where the policy shares them', async () => {
    const { broker } = await start(
      {},
      'tenants: { ACME: { state: { shared: [{ keys: ["map-*"], tenants: ["Part*"] }, { keys: [fleet] }] } } }\n',
    );
    const [one, two] = [await scene.vehicle(broker, 'car-1'), await scene.vehicle(broker, 'car-2')];
    const partner = await scene.vehicle(broker, 'car-1', 'Partner');
    const stranger = await scene.vehicle(broker, 'car-1', 'Stranger');
    const text = async (link: BrokerLink, ask: Ask) => (await count(link, ask)).text;
    expect([await text(one, {}), await text(two, {}), await text(partner, {})]).toEqual(['1', '1', '1']);
    expect([await text(one, { key: 'fleet' }), await text(two, { key: 'fleet' })]).toEqual(['1', '2']);
    expect([await text(one, { key: 'map-1' }), await text(partner, { key: 'map-1' })]).toEqual(['1', '1']);
    expect(await text(partner, { key: 'map-1', tenant: 'ACME' })).toBe('2');
    const forbidden = { context: { refusal: ErrorCode.StateForbidden } };
    await expect(count(partner, { key: 'fleet', tenant: 'ACME' })).rejects.toMatchObject(forbidden);
    await expect(count(partner, { tenant: 'ACME' })).rejects.toMatchObject(forbidden);
    await expect(count(stranger, { key: 'map-1', tenant: 'ACME' })).rejects.toMatchObject(forbidden);
  });

  test('over the quota are refused with its name and when to ask again', async () => {
    const { broker } = await start({}, 'default: { state: { keys: 2, bytes: 2k, ttl: 5s } }\n');
    const link = await scene.vehicle(broker);
    for (const key of ['a', 'b']) await count(link, { key });
    const third = count(link, { key: 'c' });
    await expect(third).rejects.toMatchObject({
      message: expect.stringMatching(/tenant ACME has 2 keys here, and may have 2; .*\(quota state.keys/),
      context: { refusal: ErrorCode.QuotaSpent, retryAfterMs: expect.toSatisfy((ms: number) => ms > 0 && ms <= 5000) },
    });
    for (let i = 0; i < 4; i++) await count(link, { key: 'a' }).catch(() => {});
    await expect(count(link, { key: 'a' })).rejects.toMatchObject({
      message: expect.stringMatching(/quota state.bytes/),
    });
  });
});

test('whose budget ends while others use its key is told so; who cancels is out of the line', async () => {
  const { broker } = await start();
  const link = await scene.vehicle(broker);
  const slow = count(link, { input: 'wait' });
  while (tenders.every(({ state }) => state !== 'Busy')) await new Promise((resolve) => setTimeout(resolve, 1));
  const late = count(link, { budgetMs: 60 });
  await expect(late).rejects.toMatchObject({ code: ErrorCode.BudgetExhausted });
  const unwanted = count(link, { id: 'unwanted' });
  const next = count(link);
  link.cancel('unwanted');
  await expect(unwanted).rejects.toMatchObject({ code: ErrorCode.Cancelled });
  for (const tender of tenders) tender.go();
  expect([(await slow).text, (await next).text]).toEqual(['1', '2']);
});

test('operators see keys and sizes, and forget a tenant; who may not ask so is told', async () => {
  const { broker, api } = await start({
    audit: { file: join(scene.root, 'audit'), maxBytes: 1e6, keep: 1, hashInputs: false },
  });
  const [acme, other] = [await scene.vehicle(broker), await scene.vehicle(broker, 'car-1', 'Other')];
  await Promise.all([count(acme, { id: 'a' }), count(acme, { key: 'second' }), count(other)]);
  const shown = await getControl(api, '/v1/state?tenant=ACME');
  expect(JSON.parse(shown)).toMatchObject({
    total: 2,
    keys: [
      { tenant: 'ACME', task: 'counter', vehicle: 'car-1', key: 'second', version: expect.any(Number) },
      { tenant: 'ACME', key: 'trip', bytes: expect.any(Number), expiresInMs: expect.any(Number) },
    ],
  });
  expect(shown).not.toContain('value');
  const metrics = await getControl(api, '/metrics');
  for (const line of ['broker_state_keys 3', 'broker_state_offloads_total{result="written"} 3']) {
    expect(metrics).toContain(line);
  }
  const forget = (body: string) => callControl(api, '/v1/forget', { method: 'POST', body });
  for (const body of ['', '{}', '{"tenant":7}', '{"tenant":"a\\nb"}', '{"tenant":"ACME","all":true}', '[]']) {
    await expect(forget(body)).rejects.toMatchObject({ code: ErrorCode.BadControlRequest });
  }
  expect(JSON.parse((await forget('{"tenant":"ACME"}')).toString())).toMatchObject({
    ...{ tenant: 'ACME', keys: 2, outputs: 2, results: 2, packages: [], isScrubbed: true, aside: [] },
  });
  // Also the answer that was kept is gone: it is a new offload.
  expect([(await count(acme, { id: 'a' })).text, (await count(other)).text]).toEqual(['1', '2']);
  await broker.stop();
  expect(readFileSync(join(scene.root, 'audit'), 'utf8')).toMatch(
    /"event":"forget","by":"control socket","tenant":"ACME"/,
  );
});

test('while the disk cannot be used, offloads with state are refused, and others are not', async () => {
  const stateDir = join(scene.root, `broken-${made++}`);
  mkdirSync(stateDir);
  // No folder can be made there.
  writeFileSync(join(stateDir, 'state'), 'a file');
  const { broker } = await start({ stateDir });
  const link = await scene.vehicle(broker);
  await expect(count(link)).rejects.toMatchObject({
    message: expect.stringMatching(/state of sessions cannot be kept here now: /),
    context: { refusal: ErrorCode.StateNotKept, retryAfterMs: 5000 },
  });
  expect(broker.status().errors[0]).toMatchObject({ source: 'state', code: ErrorCode.StateNotKept });
});
