import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { buildTask } from '../../broker/unikernel/toolchain/build-task.ts';
import { Deadline } from '../../shared/base/deadline.ts';
import { silentLog } from '../../shared/base/log.ts';
import { ensureDevelopmentIdentities } from '../../shared/identity/development.ts';
import type { Identity } from '../../shared/identity/identity.ts';
import { loadIdentity } from '../../shared/identity/x509-identity.ts';
import { BrokerLink } from '../../shared/v2e-client/broker-link.ts';
import type { BrokerResult } from '../../shared/v2e-client/offload-result.ts';
import { BrokerProcess } from '../support/broker/broker-process.ts';
import { FakeClock, faketimeLibrary } from '../support/machine/faketime.ts';
import { notRun } from '../support/machine/not-run.ts';
import { isLong, longIt } from '../support/rounds.ts';

// The wall clock of a broker jumps while it works, as it does when a base station hears of the time: budgets and results in
// memory do not depend on it, and certificates end and begin with it.

const library = faketimeLibrary();
const trouble = library === undefined ? "Debian's faketime is not installed: apt-get install faketime" : undefined;
if (trouble !== undefined) notRun('a broker whose clock jumps', trouble);

const top = join(import.meta.dirname, '../..');
const [MINUTE_S, YEAR_S] = [60, 365 * 86_400];
const WAIT = { timeout: 30_000, interval: 50 };
/** An hour, which is also as long as a broker without a policy keeps anything. */
const KEEP_MS = 60 * MINUTE_S * 1000;

let root: string;
let clock: FakeClock;
let broker: BrokerProcess;
let identity: Identity;
let digest: string;
let link: BrokerLink | undefined;

beforeAll(async () => {
  if (library === undefined) return;
  root = mkdtempSync(join(tmpdir(), 'kerb-broker-clock-'));
  clock = new FakeClock(join(root, 'clock'));
  const names = { vehicle: 'car-1', broker: 'rsu-1', tenant: 'ACME' };
  const folders = await ensureDevelopmentIdentities(join(root, 'identity'), names);
  identity = await loadIdentity(folders.vehicle, 'vehicle');
  digest = await buildTask(join(top, 'examples/tasks/echo'), join(root, 'packages', 'echo'));
  broker = await BrokerProcess.create(root, folders.broker, ['--blank-tenders', '0'], clock.environment(library));
  await broker.start();
  link = new BrokerLink({
    target: { id: 'rsu-1', url: broker.url },
    identityTrouble: () => '',
    log: silentLog(),
  });
  link.start(identity);
});
afterAll(async () => {
  link?.stop('the test is over');
  await broker?.kill();
  if (root !== undefined) rmSync(root, { recursive: true, force: true });
});

function offload(id: string): Promise<BrokerResult> {
  const request = { id, input: Buffer.from(`input of ${id}`), taskDigest: digest, isolation: 'any', priority: 500 };
  const deadline = new Deadline(10_000);
  return link!.send({ ...request, deadline } as Parameters<BrokerLink['send']>[0], {
    ...{ serviceClass: 'normal', keepMs: KEEP_MS, durable: true },
  });
}

const connected = () => vi.waitUntil(() => link!.connected, WAIT);

test('hours forward and back: budgets hold, and a kept result is there, also after the broker was killed', {
  skip: trouble !== undefined,
  meta: { notRun: trouble },
}, async () => {
  await connected();
  expect(await offload('before')).toMatchObject({ kept: false });
  for (const minutes of [120, -120, 0]) {
    clock.set(minutes * MINUTE_S);
    expect(await offload(`at-${minutes}`)).toMatchObject({ kept: false });
    expect(await offload('before')).toMatchObject({ kept: true });
    expect(link!.connected).toBe(true);
  }
  clock.set(30 * MINUTE_S);
  await broker.kill();
  await broker.start();
  await connected();
  expect(await offload('before')).toMatchObject({ kept: true });
  if (!isLong) return; // each start costs a second of a processor
  // Longer ago than it was to be kept.
  clock.set(90 * MINUTE_S);
  await broker.kill();
  await broker.start();
  await connected();
  expect(await offload('before')).toMatchObject({ kept: false });
});

longIt(
  'years forward: certificates have expired and links end; back again, they are good',
  {
    skip: trouble !== undefined,
    meta: { notRun: trouble },
  },
  async () => {
    await connected();
    clock.set(30 * YEAR_S);
    await vi.waitUntil(() => !link!.connected, WAIT);
    await expect(offload('late')).rejects.toThrow(/no connection to broker rsu-1/);
    expect(await broker.status()).toMatchObject({ clients: 0 });
    clock.set(0);
    await connected();
    expect(await offload('again')).toMatchObject({ kept: false });
  },
);
