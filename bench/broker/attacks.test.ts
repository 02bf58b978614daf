import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { createAuthority, issueCertificate, type Subject } from '../../shared/identity/authority.ts';
import { writeIdentity } from '../../shared/identity/files.ts';
import { loadIdentity } from '../../shared/identity/x509-identity.ts';
import { ATTACKS, type AttackTarget } from '../../test/support/attacks/attacks.ts';
import { RawVehicle } from '../../test/support/attacks/raw-vehicle.ts';
import { DIGEST, type FakeAnswer, FakeBroker, type WireOffload } from '../../test/support/fake-broker.ts';

// The generators do what they are named after, at a broker that has no defence. What a real one makes of them is measured.

let root: string;
let serverOptions: () => object;
let broker: FakeBroker;
let stop: AbortController;
let running: Promise<void> | undefined;
let onOffload: (wire: WireOffload, answer: FakeAnswer) => void = () => {};

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'kerb-attacks-'));
  const authority = await createAuthority('Test CA');
  const identity = async (name: string, subject: Subject) => {
    const dir = join(root, name);
    await writeIdentity(dir, await issueCertificate(authority, subject), authority.certificate);
    return dir;
  };
  await identity('car', { kind: 'vehicle', id: 'car-1', tenant: 'ACME' });
  const own = await loadIdentity(await identity('broker', { kind: 'broker', id: 'rsu-1', hosts: [] }), 'broker');
  serverOptions = () => own.serverOptions();
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

beforeEach(async () => {
  stop = new AbortController();
  running = undefined;
  onOffload = () => {};
  broker = await new FakeBroker({ serverOptions, onOffload: (...given) => onOffload(...given) }).start();
});
afterEach(async () => {
  stop.abort();
  await running;
  await broker.stop();
});

const read = (file: string) => readFileSync(join(root, 'car', file));
const tls = () => ({ cert: read('certificate.pem'), key: read('key.pem'), ca: read('ca.pem') });

function attack(name: keyof typeof ATTACKS): void {
  const target: AttackTarget = { url: broker.url, tls: tls(), taskDigest: DIGEST, share: SHARE };
  running = ATTACKS[name]!(target, stop.signal);
}
const received = (count: number) => vi.waitUntil(() => broker.received.length >= count, { timeout: 20_000 });

/** A hundredth of each: enough to see what it does. */
const SHARE = 0.01;
const HUNDREDTH_MIB = Math.round(SHARE * 2 ** 20);

describe('an attack', () => {
  test('floods with requests for a task that is not there', async () => {
    onOffload = ({ id }, answer) => answer({ id, refusal: { code: 7003 } });
    attack('a flood of refused requests');
    await received(100);
    expect(broker.received.every(({ taskDigest }) => taskDigest !== DIGEST)).toBe(true);
    expect(new Set(broker.received.map(({ id }) => id)).size).toBe(broker.received.length);
  });

  test('repeats one id with a large input, again when it is answered', async () => {
    onOffload = ({ id }, answer) => answer({ id, refusal: { code: 7003 } });
    attack('one id repeated with 4 MiB');
    await received(20);
    expect(new Set(broker.received.map(({ id }) => id)).size).toBe(1);
    expect(broker.received[9]!.input.length).toBeCloseTo(4 * HUNDREDTH_MIB, -2);
  });

  test('keeps 64 in flight, and comes back when it is cut off', async () => {
    attack('64 in flight of 1 MiB');
    await received(64);
    expect(broker.received).toHaveLength(64);
    expect(broker.received[63]!.input).toHaveLength(HUNDREDTH_MIB);
    broker.disconnectClients();
    await received(128);
  });

  test('makes many clients of socket.io on one connection', async () => {
    attack('2,000 CONNECTs in one write');
    await vi.waitUntil(() => broker.clients === 20, { timeout: 20_000 });
  });

  test('leaves answers unread', async () => {
    onOffload = ({ id }, answer) => answer({ id, result: { output: Buffer.alloc(2 ** 20) } });
    attack('answers never read');
    await vi.waitUntil(() => broker.unread > 8 * 2 ** 20, { timeout: 20_000 });
  });

  test('keeps connections', async () => {
    attack('1,023 connections kept alive');
    await vi.waitUntil(() => broker.clients === 10, { timeout: 20_000 });
    broker.disconnectClients();
    await vi.waitUntil(() => broker.clients === 0, { timeout: 20_000 });
    await vi.waitUntil(() => broker.clients === 10, { timeout: 20_000 });
  });

  test('asks for endless loops with the largest budget, and again when one is refused', async () => {
    let refused = 0;
    onOffload = ({ id }, answer) => {
      if (refused++ < 3) answer({ id, refusal: { code: 7003 } });
    };
    attack('endless loops with the largest budget');
    await received(143);
    expect(broker.received[0]).toMatchObject({ budgetMs: 3_600_000, input: Buffer.alloc(4, 0xff) });
  });
});

test('a raw vehicle is told why it is not let in', async () => {
  broker.refuse = 'not today';
  await expect(RawVehicle.connect(broker.url, tls())).rejects.toThrow('not today');
});

test('a raw vehicle answers pings, and ends', async () => {
  const vehicle = await RawVehicle.connect(broker.url, tls());
  expect(broker.clients).toBe(1);
  broker.sendRaw('2');
  vehicle.end();
  await vehicle.closed;
  await vi.waitUntil(() => broker.clients === 0);
});
