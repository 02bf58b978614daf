import { readFileSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, test, vi } from 'vitest';
import type { BrokerEvent, OffloadPage, TenantStatus, VehiclePage } from '../../shared/api/broker.ts';
import { type ControlTarget, callControl, getControl, streamControl } from '../../shared/api/control-client.ts';
import type { BrokerStatus, DrainStatus } from '../../shared/api/status.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import type { Subject } from '../../shared/identity/authority.ts';
import { loadIdentity } from '../../shared/identity/x509-identity.ts';
import { BrokerScene } from '../../test/support/broker/broker-scene.ts';

const scene = new BrokerScene();
afterAll(() => scene.remove());
afterEach(() => scene.stop());

const until = (look: () => unknown) => vi.waitUntil(look, { timeout: 20_000, interval: 10 });

async function get<Reply>(api: ControlTarget, path: string): Promise<Reply> {
  return JSON.parse(await getControl(api, path)) as Reply;
}

async function drain<Reply>(api: ControlTarget, body: unknown = {}): Promise<Reply> {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  return JSON.parse((await callControl(api, '/v1/drain', { method: 'POST', body: text })).toString()) as Reply;
}

async function undrain<Reply>(api: ControlTarget): Promise<Reply> {
  return JSON.parse((await callControl(api, '/v1/drain', { method: 'DELETE' })).toString()) as Reply;
}

/** Status code and body, whatever they are. */
function raw(socketPath: string, path: string): Promise<[number, string]> {
  return new Promise((resolve, reject) => {
    request({ socketPath, path, agent: false }, async (answer) => {
      let body = '';
      for await (const chunk of answer) body += chunk;
      resolve([answer.statusCode!, body]);
    })
      .on('error', reject)
      .end();
  });
}

test('tenants, offloads and vehicles are shown as they are', async () => {
  const { broker, api } = await scene.start();
  const acme = await scene.vehicle(broker);
  const other = await scene.vehicle(broker, 'bus-1', 'Example Fleet');
  await scene.offload(acme);
  await expect(scene.offload(acme, 'f')).rejects.toMatchObject({ code: ErrorCode.OffloadRefused });
  const slow = scene.offload(acme, 'held', 'slow');
  await until(async () => (await get<BrokerStatus>(api, '/v1/status')).running === 1);
  const waiting = scene.offload(other, 'e', 'next');
  await until(async () => (await get<BrokerStatus>(api, '/v1/status')).queued === 1);

  const page = await get<OffloadPage>(api, '/v1/offloads');
  expect(page).toMatchObject({
    total: 2,
    offloads: [
      { id: 'slow', tenant: 'ACME', vehicle: 'car-1', task: 'echo 1', state: 'running', class: 'normal', bytes: 4 },
      { id: 'next', tenant: 'Example Fleet', vehicle: 'bus-1', state: 'waiting', callers: 1 },
    ],
  });
  expect(page.offloads[1]!.leftMs).toBeGreaterThan(0);
  expect(await get(api, '/v1/offloads?limit=1')).toMatchObject({ total: 2, offloads: [{ id: 'slow' }] });
  expect(await get(api, '/v1/offloads?state=waiting&tenant=ACME')).toEqual({ total: 0, offloads: [] });

  const [first, second] = await get<TenantStatus[]>(api, '/v1/tenants');
  expect(first).toMatchObject({
    ...{ tenant: 'ACME', connections: 1, vehicles: 1, waiting: 0, running: 1, bytes: 4, ok: 1, failed: 1, refused: 0 },
    ...{ reasons: { failed: 1 }, misses: 0, latency: { count: 1 }, packages: { count: 0, bytes: 0 } },
  });
  expect(first!.cpuMs).toBeGreaterThan(0);
  expect(second).toMatchObject({ tenant: 'Example Fleet', waiting: 1, running: 0, ok: 0 });

  const { vehicles, total } = await get<VehiclePage>(api, '/v1/vehicles');
  expect(total).toBe(2);
  expect(vehicles[0]).toMatchObject({
    vehicle: 'car-1',
    tenant: 'ACME',
    connections: 1,
    version: 2,
    pending: 1,
    ok: 1,
  });
  expect(await get(api, '/v1/vehicles?tenant=Nobody')).toEqual({ vehicles: [], total: 0 });
  expect(await get(api, '/v1/packages')).toMatchObject([{ name: 'echo', digest: scene.digest }]);
  const metrics = await getControl(api, '/metrics');
  for (const line of [
    'broker_offloads_running{tenant="ACME",task="echo"} 1',
    'broker_offloads_waiting{tenant="Example Fleet",task="echo"} 1',
    'broker_clients 2',
  ]) {
    expect(metrics).toContain(line);
  }

  scene.release();
  await Promise.all([slow, waiting]);
  acme.stop('test');
  await until(async () => (await get<VehiclePage>(api, '/v1/vehicles')).total === 1);
  expect(await get(api, '/v1/offloads')).toEqual({ total: 0, offloads: [] });
  // What it has done is still known.
  expect((await get<TenantStatus[]>(api, '/v1/tenants'))[0]).toMatchObject({ tenant: 'ACME', connections: 0, ok: 2 });
});

test.each([
  '/v1/offloads?limit=0',
  '/v1/offloads?limit=10001',
  '/v1/offloads?limit=-1',
  '/v1/offloads?state=sleeping',
  '/v1/vehicles?limit=many',
  '/v1/events?after=x',
  '/v1/events?follow=2',
])('%s is refused', async (path) => {
  const { api } = await scene.start();
  await expect(getControl(api, path)).rejects.toMatchObject({ code: ErrorCode.BadControlRequest });
});

test('events are kept and followed, of one name where it is asked for', async () => {
  const { broker, api } = await scene.start();
  const link = await scene.vehicle(broker);
  const stop = new AbortController();
  const seen: BrokerEvent[] = [];
  const following = (async () => {
    for await (const chunk of streamControl(api, '/v1/events?follow=1&name=ACME', { signal: stop.signal })) {
      for (const line of chunk.toString().trim().split('\n')) seen.push(JSON.parse(line));
    }
  })();
  await until(() => seen.length === 1);
  await expect(scene.offload(link, 'f')).rejects.toThrow();
  await until(() => seen.length === 2);
  stop.abort();
  await following;
  expect(seen).toMatchObject([
    { kind: 'vehicle', name: 'ACME', word: 'Connected', message: expect.stringContaining('car-1') },
    { kind: 'refusal', name: 'ACME', word: 'GuestFault', message: expect.stringContaining('car-1') },
  ]);
  expect(await get(api, '/v1/events?name=Nobody')).toEqual([]);
});

describe('a drain', () => {
  test('refuses what is new with a broker to try, lets the rest end, and is taken back', async () => {
    const { broker, api } = await scene.start();
    const link = await scene.vehicle(broker);
    expect(await raw(api, '/healthz')).toEqual([200, '{"ok":true}']);
    expect(await raw(api, '/readyz')).toEqual([200, '{"ready":true}']);
    const slow = scene.offload(link, 'held', 'slow');
    const next = scene.offload(link, 'e', 'next');
    await until(async () => (await get<BrokerStatus>(api, '/v1/status')).queued === 1);

    expect(await drain(api, { forMs: 60_000, to: ['rsu-2', 'rsu-3'] })).toMatchObject({
      ...{ state: 'draining', by: 'control socket', tryBrokers: ['rsu-2', 'rsu-3'], waiting: 1, running: 1 },
    });
    expect(await raw(api, '/readyz')).toEqual([
      503,
      '{"ready":false,"reason":"draining, as control socket asked for"}',
    ]);
    expect((await raw(api, '/healthz'))[0]).toBe(200);
    const refused = await Promise.allSettled([scene.offload(link), scene.offload(link)]);
    const context = { refusal: ErrorCode.BrokerStopping };
    expect(refused).toMatchObject([{ reason: { context } }, { reason: { context } }]);
    // The same request again is not new.
    const again = scene.offload(link, 'held', 'slow');
    scene.release();
    for (const one of [slow, next, again]) expect((await one).place).toBe('broker:rsu-1');
    await until(async () => (await get<DrainStatus>(api, '/v1/drain')).state === 'drained');
    expect(await getControl(api, '/metrics')).toContain('broker_draining 1');

    expect(await undrain(api)).toMatchObject({ state: 'serving', by: '', tryBrokers: [] });
    expect((await raw(api, '/readyz'))[0]).toBe(200);
    expect((await scene.offload(link)).place).toBe('broker:rsu-1');
    const events = (await get<BrokerEvent[]>(api, '/v1/events')).filter(({ kind }) => kind === 'drain');
    expect(events.map(({ word }) => word)).toEqual(['Draining', 'Drained', 'Serving']);
  });

  test.each([
    ['no JSON', '{"forMs":'],
    ['a list', '[]'],
    ['another key', { for: 1 }],
    ['a time that is negative', { forMs: -1 }],
    ['a time that is text', { forMs: '30s' }],
    ['a time of more than a day', { forMs: 86_400_001 }],
    ['no list of brokers', { to: 'rsu-2' }],
    ['a broker that is empty', { to: [''] }],
    ['a broker with a line break', { to: ['rsu-2\nrsu-3'] }],
    ['too many brokers', { to: Array.from({ length: 33 }, () => 'rsu-2') }],
  ])('%s is refused, and nothing begins', async (_what, body) => {
    const { api } = await scene.start();
    await expect(drain(api, body)).rejects.toMatchObject({ code: ErrorCode.BadControlRequest });
    expect(await get(api, '/v1/drain')).toMatchObject({ state: 'serving' });
  });

  test('a stop is one that cannot be taken back; the API answers until the end', async () => {
    const { broker, api } = await scene.start({ drainTo: ['rsu-2'] });
    const link = await scene.vehicle(broker);
    const slow = scene.offload(link, 'held');
    await until(async () => (await get<BrokerStatus>(api, '/v1/status')).running === 1);
    const stopped = broker.stop('SIGTERM');
    expect(await get(api, '/v1/drain')).toMatchObject({ state: 'draining', by: 'SIGTERM', tryBrokers: ['rsu-2'] });
    await expect(undrain(api)).rejects.toMatchObject({ code: ErrorCode.BadControlRequest });
    await expect(scene.offload(link)).rejects.toMatchObject({ context: { refusal: ErrorCode.BrokerStopping } });
    scene.release();
    expect((await slow).place).toBe('broker:rsu-1');
    await stopped;
  });

  test('a second signal does not wait for what runs', async () => {
    const hurry = new AbortController();
    const { broker } = await scene.start({}, hurry.signal);
    const link = await scene.vehicle(broker);
    const slow = scene.offload(link, 'held');
    await until(() => broker.status().running === 1);
    const lost = expect(slow).rejects.toThrow();
    const stopped = broker.stop();
    hurry.abort();
    await Promise.all([stopped, lost]);
  });
});

describe('over TLS', () => {
  async function remote(operators: readonly string[], auditFile?: string, policyFile?: string) {
    const audit =
      auditFile === undefined ? {} : { audit: { file: auditFile, maxBytes: 1e6, keep: 1, hashInputs: true } };
    const api = { listen: { host: '127.0.0.1', port: 0 }, operators };
    const { broker } = await scene.start({ api, policyFile, ...audit });
    await until(() => broker.apiPort() !== undefined);
    const as = async (subject: Subject) => {
      const identity = await loadIdentity(await scene.identityDir(subject), subject.kind);
      return { url: new URL(`https://127.0.0.1:${broker.apiPort()}`), tls: identity.clientOptions('rsu-1', 'broker') };
    };
    return { broker, as };
  }

  test('operators that the policy names may as well, from one moment to the next', async () => {
    const policyFile = join(scene.root, 'policy.yaml');
    writeFileSync(policyFile, 'operators: [alice]\ntenants: { ACME: { offloads: 7, bytes: 1m } }\n');
    const { broker, as } = await remote([], undefined, policyFile);
    const [alice, bob] = [await as({ kind: 'operator', id: 'alice' }), await as({ kind: 'operator', id: 'bob' })];
    await scene.vehicle(broker);
    const [acme] = await get<TenantStatus[]>(alice, '/v1/tenants');
    expect(acme?.quotas).toContainEqual({ quota: 'offloads', used: 0, limit: 7 });
    await expect(get(bob, '/v1/status')).rejects.toMatchObject({ code: ErrorCode.ApiForbidden });
    writeFileSync(policyFile, 'operators: [bob]\n');
    await broker.reload();
    expect(await get(bob, '/v1/drain')).toMatchObject({ state: 'serving' });
    await expect(get(alice, '/v1/status')).rejects.toMatchObject({ code: ErrorCode.ApiForbidden });
  });

  test('operators that are named may do all, and the audit log names them', async () => {
    const file = join(scene.root, 'audit.jsonl');
    const { broker, as } = await remote(['alice'], file);
    const alice = await as({ kind: 'operator', id: 'alice' });
    expect(await get(alice, '/v1/status')).toMatchObject({ broker: 'rsu-1' });
    expect(await getControl(alice, '/metrics')).toContain('broker_clients 0');
    const link = await scene.vehicle(broker);
    await scene.offload(link, 'e', 'first');
    expect(await drain(alice, { to: ['rsu-2'] })).toMatchObject({ by: 'operator alice' });
    await expect(scene.offload(link, 'e', 'second')).rejects.toThrow();
    await broker.stop('SIGTERM');
    const lines = readFileSync(file, 'utf8').trim().split('\n');
    expect(lines.map((line) => JSON.parse(line))).toMatchObject([
      { event: 'start', broker: 'rsu-1' },
      {
        ...{ event: 'offload', tenant: 'ACME', vehicle: 'car-1', id: 'first', task: 'echo', version: '1' },
        ...{
          digest: scene.digest,
          class: 'normal',
          isolation: 'process',
          outcome: 'ok',
          inputBytes: 1,
          outputBytes: 1,
        },
        inputSha256: '3f79bb7b435b05321651daefd374cdc681dc06faa65e374e38337b88ca046dea',
      },
      { event: 'drain', by: 'operator alice' },
      { event: 'drained', by: 'operator alice' },
      { event: 'offload', id: 'second', outcome: 'refused', reason: 'stopping', code: ErrorCode.BrokerStopping },
      { event: 'stop', by: 'SIGTERM' },
      { event: 'drain', by: 'SIGTERM' },
      { event: 'drained', by: 'SIGTERM' },
    ]);
  });

  test.each<[string, Subject]>([
    ['an operator that is not named', { kind: 'operator', id: 'mallory' }],
    ['a vehicle', { kind: 'vehicle', id: 'alice', tenant: 'ACME' }],
  ])('%s is refused, and does nothing', async (_who, subject) => {
    const { broker, as } = await remote(['alice']);
    await expect(drain(await as(subject))).rejects.toMatchObject({ code: ErrorCode.ApiForbidden });
    expect(broker.status().drain.state).toBe('serving');
  });
});
