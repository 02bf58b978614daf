/** Keys of sessions that another broker keeps: two real brokers, and a raw one that lies, stalls or may not. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Agent } from 'node:https';
import { join } from 'node:path';
import { io, type Socket } from 'socket.io-client';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { getControl } from '../../shared/api/control-client.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import { silentLog } from '../../shared/base/log.ts';
import { loadIdentity } from '../../shared/identity/x509-identity.ts';
import { kerbside } from '../../shared/protocol/generated/v2e.js';
import { V2E_TRANSPORT } from '../../shared/protocol/v2e-socket.ts';
import { buildTaskPackage } from '../../shared/task-package/writer.ts';
import { BrokerLink } from '../../shared/v2e-client/broker-link.ts';
import { askState, type StateCall } from '../../shared/v2e-client/state-requests.ts';
import { BrokerScene } from '../../test/support/broker/broker-scene.ts';
import { CounterTender } from '../../test/support/broker/counter-tender.ts';
import { fakeImage } from '../../test/support/fake-image.ts';
import { until } from '../../test/support/until.ts';
import type { RunningBroker } from '../main.ts';

const { ForwardedState, NeighbourReply, StateReply, StateRequest } = kerbside.v2e;
const scene = new BrokerScene();
const packagesDir = join(scene.root, 'tasks');
const undo: (() => unknown)[] = [];
let made = 0;

beforeAll(async () => {
  const images = [fakeImage({ name: 'counter', maxInput: 256, maxOutput: 256 })];
  const what = { images, version: '1', isolation: 'any', state: { maxBytes: 64 } } as const;
  await buildTaskPackage(join(packagesDir, 'counter'), what);
});
afterAll(() => {
  scene.remove();
  rmSync(packagesDir, { recursive: true, force: true });
});
afterEach(async () => {
  for (const step of undo.splice(0)) await step();
  await scene.stop();
});

const policyFor = (broker: string, may = '[state]', tenant = 'ACME') =>
  `neighbours: [{ broker: ${broker}, tenant: ${tenant}, may: ${may} }]\n`;

async function start(id: string, policy: string, known: Record<string, string> = {}) {
  const policyFile = join(scene.root, `policy-${made++}.yaml`);
  writeFileSync(policyFile, policy);
  const audit = join(scene.root, `audit-${made++}`);
  const config = {
    ...{ id, packagesDir, policyFile, neighbours: new Map(Object.entries(known)) },
    identityDir: await scene.identityDir({ kind: 'broker', id, hosts: [] }),
    audit: { file: audit, maxBytes: 1_000_000, keep: 1, hashInputs: false },
  };
  const started = await scene.start(config, undefined, { createTender: () => new CounterTender() });
  const change = async (text: string) => {
    writeFileSync(policyFile, text);
    await started.broker.reload();
  };
  return { ...started, audit, change };
}

async function vehicle(broker: RunningBroker, tenant = 'ACME', id = 'car-1'): Promise<BrokerLink> {
  const target = { id: undefined, url: broker.url };
  const link = new BrokerLink({ target, identityTrouble: () => '', log: silentLog() });
  link.start(await loadIdentity(await scene.identityDir({ kind: 'vehicle', id, tenant }), 'vehicle'));
  undo.push(() => link.stop('the test is over'));
  await until('it is connected', () => link.connected);
  return link;
}

/** Speaks as a neighbour would. */
async function raw(broker: RunningBroker, id: string): Promise<Socket> {
  const identity = await loadIdentity(await scene.identityDir({ kind: 'broker', id, hosts: [] }), 'broker');
  const agent = new Agent(identity.clientOptions(undefined));
  const socket = io(broker.url, {
    ...{ ...V2E_TRANSPORT, path: '/neighbours', agent: agent as unknown as string },
    ...{ auth: { versions: [1] }, forceNew: true, reconnection: false },
  });
  undo.push(() => socket.disconnect());
  await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('connect_error', reject));
  return socket;
}

const use = async (link: BrokerLink, call: StateCall, home = 'rsu-2') => {
  const { value, ...rest } = await askState(link, { home, key: 'trip' }, 'counter', call);
  return { ...rest, text: Buffer.from(value).toString() };
};
const text = (value: string) => Buffer.from(value);
const connected = (api: string, id: string) =>
  until('they are connected', async () =>
    (await getControl(api, '/metrics')).includes(`broker_neighbour_connected{neighbour="${id}"} 1`),
  );

test('a vehicle reads and writes the keys of its home at another broker, and only where both policies say so', async () => {
  const home = await start('rsu-2', policyFor('rsu-1'));
  const other = await start('rsu-1', policyFor('rsu-2'), { 'rsu-2': home.broker.url });
  await connected(other.api, 'rsu-2');
  const [here, there] = [await vehicle(other.broker), await vehicle(home.broker)];
  await expect(use(here, { operation: 'get' })).rejects.toMatchObject({ code: ErrorCode.UnknownStateKey });
  const first = await use(here, { operation: 'cas', value: text('one'), expected: 0 });
  expect(await use(there, { operation: 'get' })).toMatchObject({ text: 'one', version: first.version });
  await use(there, { operation: 'put', value: text('two') });
  expect(await use(here, { operation: 'get' })).toMatchObject({ text: 'two', version: first.version + 1 });
  await expect(use(here, { operation: 'cas', value: text('x'), expected: first.version })).rejects.toMatchObject({
    code: ErrorCode.StateConflict,
    context: { version: first.version + 1 },
  });
  // It is the vehicle of the certificate, as everywhere.
  const second = await vehicle(other.broker, 'ACME', 'car-2');
  await expect(use(second, { operation: 'get' })).rejects.toMatchObject({ code: ErrorCode.UnknownStateKey });
  const stranger = await vehicle(other.broker, 'Other');
  await expect(use(stranger, { operation: 'get' })).rejects.toMatchObject({ code: ErrorCode.StateElsewhere });
  await home.change(policyFor('rsu-1', '[results]'));
  await expect(use(here, { operation: 'get' })).rejects.toMatchObject({
    code: ErrorCode.StateForbidden,
    message: expect.stringMatching(/broker rsu-1 may not use the state of tenant ACME here/),
  });
  await other.change(policyFor('rsu-2', '[results]'));
  await expect(use(here, { operation: 'get' })).rejects.toMatchObject({ code: ErrorCode.StateElsewhere });
  expect(await use(there, { operation: 'get' })).toMatchObject({ text: 'two' });

  const metrics = await getControl(home.api, '/metrics');
  expect(metrics).toContain('broker_fetched_total{kind="state",neighbour="rsu-1",result="taken"} 2');
  await home.broker.stop();
  const lines = readFileSync(home.audit, 'utf8').trim().split('\n');
  const audited = lines.map((line) => JSON.parse(line)).filter(({ event }) => event === 'state');
  expect(audited).toContainEqual(
    expect.objectContaining({
      ...{ operation: 'cas', tenant: 'ACME', vehicle: 'car-1', via: 'rsu-1', task: 'counter', key: 'trip' },
      ...{ expected: 0, version: first.version, bytes: 3, outcome: 'ok', broker: 'rsu-2' },
    }),
  );
  expect(audited).toContainEqual(expect.objectContaining({ outcome: 'refused', code: ErrorCode.StateConflict }));
  // Whoever reads the log learns no values.
  for (const line of audited) expect(Object.keys(line)).not.toContain('value');
  expect(lines.join()).not.toContain('two');
});

test('what a neighbour asks for that is not its right, or cannot be read, is refused and changes nothing', async () => {
  const home = await start('rsu-1', policyFor('rsu-2'));
  const socket = await raw(home.broker, 'rsu-2');
  const ask = async (what: object) =>
    NeighbourReply.decode(
      await socket.timeout(5000).emitWithAck('state', ForwardedState.encode(what as never).finish()),
    );
  const requestOf = (state: object, more = {}) =>
    StateRequest.encode({ state, task: 'counter', operation: 2, value: text('1'), ...more }).finish();
  const good = requestOf({ home: 'rsu-1', key: 'trip' });
  const asVehicle = { tenant: 'ACME', vehicle: 'car-1' };
  const refused: readonly [object, number][] = [
    [{ ...asVehicle, tenant: 'Other', request: good }, ErrorCode.StateForbidden],
    [{ ...asVehicle, tenant: 'a\nb', request: good }, ErrorCode.BadOffloadRequest],
    [{ ...asVehicle, vehicle: '', request: good }, ErrorCode.BadOffloadRequest],
    [{ ...asVehicle, request: Buffer.alloc(9, 0xff) }, ErrorCode.BadOffloadRequest],
    [{ ...asVehicle, request: requestOf({ home: 'rsu-1', key: 'a b' }) }, ErrorCode.BadOffloadRequest],
    [
      { ...asVehicle, request: requestOf({ home: 'rsu-1', key: 'k' }, { value: Buffer.alloc(65_537) }) },
      ErrorCode.StateTooLarge,
    ],
  ];
  for (const [what, code] of refused) expect((await ask(what)).refusal?.code).toBe(code);
  // It is not sent on, though the one that asks would be the home.
  const elsewhere = await ask({ ...asVehicle, request: requestOf({ home: 'rsu-2', key: 'trip' }) });
  expect(StateReply.decode(elsewhere.data!).refusal?.code).toBe(ErrorCode.StateElsewhere);
  const foreign = await ask({ ...asVehicle, request: requestOf({ home: 'rsu-1', key: 'k', tenant: 'Other' }) });
  expect(StateReply.decode(foreign.data!).refusal?.code).toBe(ErrorCode.StateForbidden);
  const link = await vehicle(home.broker);
  await expect(use(link, { operation: 'get' }, 'rsu-1')).rejects.toMatchObject({ code: ErrorCode.UnknownStateKey });
});

test('a home that does not answer costs its own requests, a bounded number of them; one that is lost ends them', async () => {
  const policy = `neighbours:
  - { broker: rsu-2, tenant: ACME, may: [state] }
  - { broker: rsu-3, tenant: ACME, may: [state] }
`;
  const here = await start('rsu-1', policy);
  const [stalled, liar] = [await raw(here.broker, 'rsu-2'), await raw(here.broker, 'rsu-3')];
  await connected(here.api, 'rsu-3');
  let got = 0;
  stalled.on('state', () => got++);
  const lies = [
    Buffer.alloc(0),
    Buffer.alloc(9, 0xff),
    NeighbourReply.encode({ data: Buffer.alloc(0) }).finish(),
    NeighbourReply.encode({
      data: StateReply.encode({ entry: { version: 1, value: Buffer.alloc(65_537) } }).finish(),
    }).finish(),
  ];
  liar.on('state', (_bytes: Uint8Array, answer: (bytes: Uint8Array) => void) => answer(lies.shift()!));
  const link = await vehicle(here.broker);
  const asked = Array.from({ length: 8 }, () => use(link, { operation: 'put', value: text('1') }));
  const ends = Promise.allSettled(asked);
  await until('they wait', () => got === 8);
  await expect(use(link, { operation: 'get' })).rejects.toMatchObject({ code: ErrorCode.QueueFull });
  // Meanwhile others are served: the other neighbour, and this broker's own keys.
  while (lies.length > 0) {
    await expect(use(link, { operation: 'get' }, 'rsu-3')).rejects.toMatchObject({
      code: ErrorCode.BadProtocolMessage,
    });
  }
  await use(link, { operation: 'put', value: text('own') }, 'rsu-1');
  expect((await use(link, { operation: 'get' }, 'rsu-1')).text).toBe('own');
  stalled.disconnect();
  for (const end of await ends) {
    expect(end).toMatchObject({
      status: 'rejected',
      reason: { code: ErrorCode.BrokerLost, message: expect.stringMatching(/whether it has been done is not known/) },
    });
  }
  await expect(use(link, { operation: 'get' })).rejects.toMatchObject({ code: ErrorCode.NoBroker });
});
