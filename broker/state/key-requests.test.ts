import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { getControl } from '../../shared/api/control-client.ts';
import { Deadline } from '../../shared/base/deadline.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import { kerbside } from '../../shared/protocol/generated/v2e.js';
import { bytesOf } from '../../shared/protocol/v2e-socket.ts';
import { buildTaskPackage } from '../../shared/task-package/writer.ts';
import type { BrokerLink } from '../../shared/v2e-client/broker-link.ts';
import { askState, type StateCall } from '../../shared/v2e-client/state-requests.ts';
import { BrokerScene } from '../../test/support/broker/broker-scene.ts';
import { CounterTender } from '../../test/support/broker/counter-tender.ts';
import { fakeImage } from '../../test/support/fake-image.ts';
import type { BrokerConfig } from '../config.ts';

const { StateRequest, StateReply } = kerbside.v2e;

const scene = new BrokerScene();
let packagesDir: string;
let counter: string;
let made = 0;

beforeAll(async () => {
  packagesDir = mkdtempSync(join(tmpdir(), 'kerb-keys-'));
  const common = { version: '1', isolation: 'any' } as const;
  const images = [fakeImage({ name: 'counter', maxInput: 256, maxOutput: 256 })];
  counter = await buildTaskPackage(join(packagesDir, 'counter'), { ...common, images, state: { maxBytes: 64 } });
  await buildTaskPackage(join(packagesDir, 'echo'), { ...common, images: [fakeImage()] });
  const large = [fakeImage({ name: 'large', maxInput: 70_000, maxOutput: 70_000 })];
  await buildTaskPackage(join(packagesDir, 'large'), { ...common, images: large, state: { maxBytes: 65_536 } });
});
afterAll(() => {
  scene.remove();
  rmSync(packagesDir, { recursive: true, force: true });
});
afterEach(() => scene.stop());

async function start(policy?: string, config: Partial<BrokerConfig> = {}) {
  const policyFile = policy === undefined ? undefined : join(scene.root, `policy-${made++}.yaml`);
  if (policyFile !== undefined) writeFileSync(policyFile, policy!);
  const parts = { createTender: () => new CounterTender() };
  return await scene.start({ packagesDir, ...(policyFile && { policyFile }), ...config }, undefined, parts);
}

interface Ask extends Partial<StateCall> {
  readonly key?: string;
  readonly home?: string;
  readonly tenant?: string;
  readonly task?: string;
}

async function use(link: BrokerLink, ask: Ask) {
  const { key = 'trip', home = 'rsu-1', tenant, task = 'counter', operation = 'get', ...call } = ask;
  const { value, ...rest } = await askState(link, { home, key, tenant }, task, { operation, ...call });
  return { ...rest, text: Buffer.from(value).toString() };
}

const text = (value: string) => Buffer.from(value);

async function count(link: BrokerLink): Promise<string> {
  const request = {
    id: `c${made++}`,
    input: text('more'),
    isolation: 'any',
    taskDigest: counter,
    priority: 500,
  } as const;
  const terms = { serviceClass: 'normal', keepMs: 0, durable: false } as const;
  const state = { home: 'rsu-1', key: 'trip' };
  const result = await link.send({ ...request, deadline: new Deadline(5000) }, { ...terms, state });
  return Buffer.from(result.output).toString();
}

test('get, put, compare-and-set and delete see what offloads have written, and offloads see them', async () => {
  const { broker, api } = await start();
  const link = await scene.vehicle(broker);
  expect(await count(link)).toBe('1');
  const first = await use(link, {});
  expect(first).toMatchObject({ version: 1, text: '1', expiresInMs: expect.toSatisfy((ms: number) => ms > 0) });
  expect(await use(link, { operation: 'put', value: text('41') })).toMatchObject({ version: 2, text: '' });
  expect(await count(link)).toBe('42');
  const conflict = use(link, { operation: 'cas', value: text('7'), expected: 2 });
  await expect(conflict).rejects.toMatchObject({
    code: ErrorCode.StateConflict,
    message: expect.stringMatching(/the key trip is at version 3, and version 2 was expected/),
    context: { version: 3 },
  });
  expect(await use(link, { operation: 'cas', value: text('9'), expected: 3, ttlMs: 5000 })).toMatchObject({
    ...{ version: 4, expiresInMs: 5000 },
  });
  const kept = await use(link, {});
  expect(kept).toMatchObject({ version: 4, text: '9', expiresInMs: expect.toSatisfy((ms: number) => ms <= 5000) });
  await expect(use(link, { operation: 'delete', expected: 1 })).rejects.toMatchObject({ context: { version: 4 } });
  // Again and again it is the same.
  for (let i = 0; i < 2; i++) expect(await use(link, { operation: 'delete' })).toMatchObject({ version: 0 });
  await expect(use(link, {})).rejects.toMatchObject({
    code: ErrorCode.UnknownStateKey,
    message: expect.stringMatching(/no value under the key trip of counter/),
  });
  await expect(use(link, { operation: 'cas', value: text('1'), expected: 4 })).rejects.toMatchObject({
    message: expect.stringMatching(/the key trip has no value, and version 4 was expected/),
    context: { version: 0 },
  });
  // 0: there must be none. Of those who try at once, one succeeds.
  const tries = Array.from({ length: 8 }, (_, i) => use(link, { operation: 'cas', value: text(`${i}`), expected: 0 }));
  const ends = await Promise.allSettled(tries);
  expect(ends.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  expect(await count(link)).toMatch(/^\d$/);
  const metrics = await getControl(api, '/metrics');
  expect(metrics).toContain('broker_state_requests_total{operation="cas",result="done"} 2');
  expect(metrics).toContain('broker_state_requests_total{operation="get",result="refused"} 1');
});

test('values of none and of 64 KiB, and no byte more', async () => {
  const { broker } = await start();
  const link = await scene.vehicle(broker);
  const put = (length: number) => use(link, { operation: 'put', task: 'large', value: Buffer.alloc(length, 'x') });
  for (const length of [0, 65_536]) {
    await put(length);
    expect((await use(link, { task: 'large' })).text).toHaveLength(length);
  }
  await expect(put(65_537)).rejects.toMatchObject({ code: ErrorCode.StateTooLarge });
  expect((await use(link, { task: 'large' })).text).toHaveLength(65_536);
});

test('what is not right is refused by name, and changes nothing', async () => {
  const { broker } = await start();
  const link = await scene.vehicle(broker);
  const put = { operation: 'put', value: text('1') } as const;
  const refused: readonly [Ask, number, RegExp][] = [
    [
      { ...put, value: Buffer.alloc(65) },
      ErrorCode.StateTooLarge,
      /65 bytes is too large: the state of counter has at most 64/,
    ],
    [{ ...put, home: 'cloud-1' }, ErrorCode.StateElsewhere, /kept by broker cloud-1, and this is broker rsu-1/],
    [{ ...put, task: 'echo' }, ErrorCode.UnknownPackage, /no task echo with state/],
    [{ ...put, task: 'none' }, ErrorCode.UnknownPackage, /no task none with state/],
    [{ ...put, tenant: 'Other' }, ErrorCode.StateForbidden, /may not use the key trip of tenant Other/],
    [{ ...put, task: 'a b' }, ErrorCode.BadOffloadRequest, /task of a state/],
    [{ ...put, key: 'a b' }, ErrorCode.BadOffloadRequest, /key of a state/],
    [{ ...put, home: '' }, ErrorCode.BadOffloadRequest, /home of a state/],
    [{ ...put, tenant: 'a\nb' }, ErrorCode.BadOffloadRequest, /tenant of a state/],
    [{ ...put, expected: 1 }, ErrorCode.BadOffloadRequest, /put of a state expects no version/],
    [{ ...put, operation: 'cas' }, ErrorCode.BadOffloadRequest, /does not say which version/],
    [{ ...put, operation: 'cas', expected: 2 ** 60 }, ErrorCode.BadOffloadRequest, /version that is expected/],
    [{ ...put, operation: 'get' }, ErrorCode.BadOffloadRequest, /get of a state takes no value/],
    [{ operation: 'delete', ttlMs: 5 }, ErrorCode.BadOffloadRequest, /delete of a state takes no value and no ttl_ms/],
  ];
  for (const [ask, code, message] of refused) {
    await expect(use(link, ask), String(message)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
  }
  const raw = async (bytes: Uint8Array) => StateReply.decode(bytesOf(await link.ask('state', bytes, 5000, '')));
  const state = { home: 'rsu-1', key: 'trip' };
  for (const operation of [0, 9]) {
    const reply = await raw(StateRequest.encode({ state, task: 'counter', operation }).finish());
    expect(reply.refusal).toMatchObject({ code: ErrorCode.BadOffloadRequest, reason: 'bad_request' });
  }
  expect((await raw(Buffer.alloc(20, 0xff))).refusal?.code).toBe(ErrorCode.BadOffloadRequest);
  const elsewhere = await raw(
    StateRequest.encode({ state: { home: 'x', key: 'k' }, task: 'counter', operation: 1 }).finish(),
  );
  expect(elsewhere.refusal).toMatchObject({ tryBroker: 'x' });
  await expect(use(link, {})).rejects.toMatchObject({ code: ErrorCode.UnknownStateKey });
});

test('keys belong to one vehicle unless the policy shares them, and a spent quota is named', async () => {
  const { broker } = await start(
    'tenants: { ACME: { state: { keys: 2, ttl: 5s, shared: [{ keys: ["map-*"], tenants: [Partner] }] } } }\n',
  );
  const [one, two] = [await scene.vehicle(broker, 'car-1'), await scene.vehicle(broker, 'car-2')];
  const partner = await scene.vehicle(broker, 'car-1', 'Partner');
  await use(one, { operation: 'put', value: text('mine') });
  await expect(use(two, {})).rejects.toMatchObject({ code: ErrorCode.UnknownStateKey });
  await use(one, { operation: 'put', key: 'map-1', value: text('ours') });
  expect((await use(two, { key: 'map-1' })).text).toBe('ours');
  expect((await use(partner, { key: 'map-1', tenant: 'ACME' })).text).toBe('ours');
  await expect(use(partner, { tenant: 'ACME' })).rejects.toMatchObject({ code: ErrorCode.StateForbidden });
  await expect(use(two, { operation: 'put', value: text('x') })).rejects.toMatchObject({
    code: ErrorCode.QuotaSpent,
    message: expect.stringMatching(/quota state.keys/),
    context: { retryAfterMs: expect.toSatisfy((ms: number) => ms > 0 && ms <= 5000) },
  });
});

test('while the disk cannot be used, it says so', async () => {
  const stateDir = join(scene.root, `broken-${made++}`);
  mkdirSync(stateDir);
  writeFileSync(join(stateDir, 'state'), 'a file');
  const { broker } = await start(undefined, { stateDir });
  const link = await scene.vehicle(broker);
  for (const ask of [{}, { operation: 'put', value: text('1') }] as const) {
    await expect(use(link, ask)).rejects.toMatchObject({
      ...{ code: ErrorCode.StateNotKept, context: { retryAfterMs: 5000 } },
    });
  }
});
