import { existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { TenantStatus } from '../../shared/api/broker.ts';
import { jsonReply } from '../../shared/api/control-routes.ts';
import { createControlServer } from '../../shared/api/control-server.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import { silentLog } from '../../shared/base/log.ts';
import { SocketEntry } from '../../shared/host/socket-directory.ts';
import { BrokerScene } from '../../test/support/broker/broker-scene.ts';
import { connectBroker } from './broker-client.ts';
import { registerBrokerCommands } from './broker-commands.ts';
import { drainLines, tenantLines, topLines, topRows } from './broker-lines.ts';

const scene = new BrokerScene();
let printed: string;
beforeEach(() => {
  printed = '';
  const take = (text: string | Uint8Array) => {
    printed += text;
    return true;
  };
  vi.spyOn(process.stdout, 'write').mockImplementation(take);
  vi.spyOn(process.stderr, 'write').mockImplementation(() => true);
});
afterEach(async () => {
  vi.restoreAllMocks();
  process.exitCode = undefined;
  await scene.stop();
});
afterAll(() => scene.remove());

async function run(...args: string[]): Promise<string> {
  const program = new Command().exitOverride();
  registerBrokerCommands(program);
  printed = '';
  await program.parseAsync(['broker', ...args], { from: 'user' });
  return printed;
}

describe('on a broker that runs', () => {
  it('shows its status, tenants, packages, offloads, vehicles and events', async () => {
    const { broker, api } = await scene.start();
    const link = await scene.vehicle(broker);
    await scene.offload(link);
    const held = scene.offload(link, 'held', 'held-1');
    await vi.waitUntil(() => broker.status().running === 1);
    expect(await run('status', '--api', api)).toMatch(/^broker rsu-1 at https:.*\n.*1; offloads: 0 waiting, 1 running/);
    expect(await run('get', 'tenants', '--api', api)).toMatch(/^TENANT .*\nACME +1 +0 +1 /);
    expect(await run('get', 'packages', '--api', api)).toMatch(/\necho +1 /);
    expect(await run('get', 'offloads', '--api', api)).toMatch(/\nrunning +ACME +car-1 +echo 1 +normal .* held-1/);
    expect(await run('get', 'offloads', '--state', 'waiting', '--api', api)).toBe('nothing waits or runs\n');
    expect(await run('get', 'vehicles', '--tenant', 'ACME', '--api', api)).toMatch(/\ncar-1 +ACME +1 +2 /);
    expect(await run('get', 'events', '--name', 'ACME', '--api', api)).toMatch(
      /vehicle ACME: Connected: vehicle car-1/,
    );
    const json = JSON.parse(await run('get', 'offloads', '-o', 'json', '--api', api));
    expect(json).toMatchObject({ total: 1, offloads: [{ id: 'held-1' }] });
    expect(await run('status', '-o', 'yaml', '--api', api)).toMatch(/^broker: rsu-1\n/);
    scene.release();
    await held;
    expect(await run('top', '--api', api)).toMatch(/^TENANT +CPU .*\nACME /);
  });

  it('lists lowest versions and resets them, with one of --to and --clear', async () => {
    const policyFile = join(scene.root, 'versions.yaml');
    writeFileSync(policyFile, '{}');
    const { broker, api } = await scene.start({ policyFile });
    expect(await run('versions', '--api', api)).toBe('no versions are remembered\n');
    await expect(run('versions', 'reset', 'echo', '--clear', '--api', api)).rejects.toThrow(
      /no version of a task echo/,
    );
    writeFileSync(policyFile, 'versions: forward');
    await broker.reload();
    expect(await run('versions', '--api', api)).toBe('echo 1 and higher of the operator\n');
    for (const both of [[], ['--to', '2', '--clear']]) {
      await expect(run('versions', 'reset', 'echo', ...both, '--api', api)).rejects.toThrow(
        /either --to VERSION or --cl/,
      );
    }
    await expect(run('versions', 'reset', 'echo', '--to', 'a b', '--api', api)).rejects.toThrow(/to is not valid/);
    expect(await run('versions', 'reset', 'echo', '--to', '0.9', '--api', api)).toBe(
      'echo of the operator: 0.9 and higher are taken; before it was 1\n',
    );
    expect(await run('versions', 'list', '--api', api)).toBe('echo 0.9 and higher of the operator\n');
    expect(await run('versions', 'reset', 'echo', '--clear', '--tenant', '', '--api', api)).toMatch(
      /any version is taken/,
    );
  });

  it('drains it, waits for what runs, and takes that back', async () => {
    const { broker, api } = await scene.start();
    const link = await scene.vehicle(broker);
    const held = scene.offload(link, 'held');
    await vi.waitUntil(() => broker.status().running === 1);
    await expect(run('drain', '--for', '100ms', '--api', api)).rejects.toMatchObject({ code: ErrorCode.NotReached });
    expect(await run('drain', '--no-wait', '--to', 'rsu-2', 'rsu-3', '--api', api)).toMatch(
      /^DRAINING since .*\(control socket\): 0 waiting and 1 running are left; .*sent to rsu-2, rsu-3/,
    );
    const waited = run('drain', '--api', api);
    scene.release();
    await held;
    expect(await waited).toMatch(/^DRAINED since .*nothing is left.*\nit can be stopped now\n$/s);
    expect(await run('status', '--api', api)).toContain('DRAINED since');
    expect(await run('drain', '--cancel', '--api', api)).toBe('it is in service again\n');
    expect(await run('drain', '--cancel', '--api', api)).toBe('it was in service already\n');
  });

  it.each([
    [['get', 'offloads', '--state', 'asleep'], /must be waiting or running/],
    [['get', 'vehicles', '--limit', 'all'], /whole number/],
    [['drain', '--for', 'ever'], /not a valid duration/],
    [['serve', '--id', 'a', '--packages', 'p', '--api-listen', '7444'], /127\.0\.0\.1:7443/],
    [['serve', '--id', 'a', '--packages', 'p', '--drain-to', 'a b'], /without spaces/],
    [['serve', '--id', 'a', '--packages', 'p', '--audit-size', '0'], /512m/],
  ])('%s is wrong usage', async (args, why) => {
    await expect(run(...args)).rejects.toThrow(why);
  });

  it.each([
    [['--api-operators', 'alice'], /--api-operators needs --api-listen/],
    [['--audit-hash-inputs'], /--audit-hash-inputs needs --audit/],
  ])('%s alone is refused', async (args, why) => {
    const state = join(scene.root, 'state');
    const serve = ['serve', '--id', 'a', '--packages', scene.root, '--state', state];
    await expect(run(...serve, ...args)).rejects.toThrow(why);
  });
});

it('says of an OBU which verbs to use', async () => {
  const socketPath = join(scene.root, 'obu.sock');
  const routes = { 'GET /v1/status': () => jsonReply({ obu: 'obu-1', vehicle: 'car-1', workloads: [] }) };
  const server = createControlServer({ socketPath, routes, log: silentLog() });
  await server.start();
  try {
    for (const verb of [['status'], ['get', 'tenants'], ['top'], ['drain']]) {
      await expect(run(...verb, '--api', socketPath)).rejects.toMatchObject({
        code: ErrorCode.ApiUnavailable,
        message: `${socketPath} is of OBU obu-1, not of a broker; use kerb status, kerb top or kerb obu get with it`,
      });
    }
  } finally {
    await server.stop();
  }
});

describe('without --api', () => {
  it('takes the broker that runs here, says which when there are several, and forgets those that were killed', async () => {
    const dir = join(scene.root, 'brokers');
    await expect(connectBroker({}, dir)).rejects.toMatchObject({ code: ErrorCode.ApiUnavailable });
    const first = await scene.start({ socketsDir: dir });
    mkdirSync(join(dir, 'a folder'));
    symlinkSync(join(scene.root, 'killed.sock'), join(dir, 'killed.1'));
    // The same broker after a kill, on the same socket.
    symlinkSync(first.api, join(dir, 'rsu-1.1'));
    await new SocketEntry(dir, 'rsu-1', first.api).start();
    const [entry] = readdirSync(dir).filter((name) => name.startsWith('rsu-1.'));
    expect((await (await connectBroker({}, dir)).status()).url).toBe(first.broker.url);
    expect(existsSync(join(dir, 'killed.1'))).toBe(false);
    expect(readdirSync(dir)).not.toContain('killed.1');
    symlinkSync(first.api, join(dir, 'rsu%2F2.77'));
    await expect(connectBroker({}, dir)).rejects.toMatchObject({
      code: ErrorCode.BadConfig,
      message: `2 brokers run here; say which one is meant (rsu-1: --api ${first.api}; rsu/2: --api ${first.api})`,
    });
    await first.broker.stop();
    expect(readdirSync(dir)).not.toContain(entry);
  });

  it('needs an identity over https, and one of an operator', async () => {
    await expect(connectBroker({ api: 'https://127.0.0.1:1' })).rejects.toThrow('needs --identity');
    await expect(connectBroker({ api: 'http://127.0.0.1:1' })).rejects.toMatchObject({ code: ErrorCode.BadConfig });
    const identity = await scene.identityDir({ kind: 'vehicle', id: 'car-1', tenant: 'ACME' });
    await expect(connectBroker({ api: 'https://127.0.0.1:1', identity })).rejects.toMatchObject({
      code: ErrorCode.BadIdentity,
    });
  });
});

const tenant = (name: string, more: Partial<TenantStatus> = {}): TenantStatus => ({
  ...{ tenant: name, connections: 0, vehicles: 0, waiting: 0, running: 0, bytes: 0, ok: 0, refused: 0, failed: 0 },
  ...{ perSecond: 0, reasons: {}, misses: 0, latency: { count: 0, p50: 0, p99: 0, max: 0 }, cpuMs: 0 },
  packages: { count: 0, bytes: 0 },
  ...more,
});

it('top is per second, the busiest first, also of one that was not there before', () => {
  const rows = topRows(
    [tenant('a', { ok: 10, cpuMs: 100 })],
    [tenant('a', { ok: 30, cpuMs: 300 }), tenant('b', { cpuMs: 1000, refused: 4, misses: 2 })],
    2000,
  );
  expect(rows).toMatchObject([
    { tenant: 'b', cpuPercent: 50, refusedPerSecond: 2, missesPerSecond: 1 },
    { tenant: 'a', cpuPercent: 10, okPerSecond: 10 },
  ]);
  // After a restart of the broker the counters begin anew.
  expect(topRows([tenant('a', { ok: 10 })], [tenant('a', { ok: 1 })], 1000)[0]?.okPerSecond).toBe(0);
  expect(topRows([], [tenant('a', { ok: 1 })], 0)[0]?.okPerSecond).toBe(0);
  expect(topLines([])).toEqual(['no tenant has been here yet']);
});

it('quotas that are used most are shown', () => {
  const quotas = [
    { quota: 'offloads', used: 3, limit: 30 },
    { quota: 'running', used: 2, limit: 4 },
    { quota: 'cpu', used: 0, limit: 10 },
    { quota: 'bytes', used: 2 ** 21, limit: 2 ** 22 },
  ];
  expect(tenantLines([tenant('a', { quotas })])[1]).toMatch(/running 2\/4, bytes 2\.0 MiB\/4\.0 MiB$/);
  expect(drainLines({ ...draining, state: 'serving' })).toEqual([]);
});

const draining = { since: '', by: '', endsInMs: 0, tryBrokers: [], waiting: 0, running: 0 };
