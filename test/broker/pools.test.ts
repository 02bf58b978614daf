import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { type BrokerLimits, DEFAULT_LIMITS } from '../../broker/config.ts';
import { type RunningBroker, startBroker } from '../../broker/main.ts';
import { BrokerOffloader } from '../../obu/offload/broker-offloader.ts';
import { getControl } from '../../shared/api/control-client.ts';
import { Deadline } from '../../shared/base/deadline.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import { silentLog } from '../../shared/base/log.ts';
import { ensureDevelopmentIdentities } from '../../shared/identity/development.ts';
import { fixedIdentity } from '../../shared/identity/identity-watch.ts';
import { loadIdentity } from '../../shared/identity/x509-identity.ts';
import { buildTaskPackage } from '../../shared/task-package/writer.ts';
import { noThread } from '../support/broker/no-thread.ts';
import { longIt } from '../support/rounds.ts';
import { guestImage, taskImage } from '../tender/support-paths.ts';

// A broker in this process with real tenders, and the OBU's end of the wire.

let root: string;
let api: string;
let identities: { vehicle: string; broker: string };
let broker: RunningBroker;
let offloader: BrokerOffloader;
let next = 0;

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'kerb-pools-'));
  const names = { vehicle: 'car-1', broker: 'rsu-1', tenant: 'ACME' };
  identities = await ensureDevelopmentIdentities(join(root, 'identity'), names);
});
afterEach(async () => {
  await offloader.stop();
  await broker.stop();
  expect(tenders()).toEqual([]);
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** Process ids of this broker's tenders. */
function tenders(): number[] {
  return readdirSync('/proc').flatMap((entry) => {
    try {
      // pid (comm) state ppid …: proc(5)
      const [, comm, state, parent] = /^\d+ \((.*)\) (.) (\d+)/.exec(readFileSync(`/proc/${entry}/stat`, 'latin1'))!;
      return comm === 'kerb-tender' && state !== 'Z' && Number(parent) === process.pid ? [Number(entry)] : [];
    } catch {
      return [];
    }
  });
}

async function start(packages: Record<string, string>, limits: Partial<BrokerLimits>): Promise<string[]> {
  const dir = join(root, `b${next++}`);
  api = join(dir, 'api.sock');
  const digests: string[] = [];
  for (const [version, image] of Object.entries(packages)) {
    const parts = { images: [readFileSync(image)], version, isolation: 'any' as const };
    digests.push(await buildTaskPackage(join(dir, 'packages', version), parts));
  }
  broker = await startBroker(
    {
      id: 'rsu-1',
      listen: { host: '127.0.0.1', port: 0 },
      identityDir: identities.broker,
      packagesDir: join(dir, 'packages'),
      stateDir: join(dir, 'state'),
      apiSocket: api,
      isolation: 'process',
      trustDir: undefined,
      prestart: 'all',
      limits: { ...DEFAULT_LIMITS, blankTenders: 0, ...limits },
    },
    { log: silentLog(), runThread: noThread },
  );
  const identity = fixedIdentity(await loadIdentity(identities.vehicle, 'vehicle'));
  offloader = new BrokerOffloader({ brokers: [{ id: 'rsu-1', url: broker.url }], identity, log: silentLog() });
  await offloader.start();
  await vi.waitUntil(() => offloader.places()[0]!.connected, { timeout: 60_000 });
  return digests;
}

function offload(taskDigest: string, input = '', budgetMs = 5000) {
  const id = `test/${next++}`;
  const asked = { isolation: 'any', deadline: new Deadline(budgetMs), priority: 500 } as const;
  return offloader.offload({ id, taskDigest, input: Buffer.from(input), ...asked });
}
/** The broker's code for a refusal, or the output. */
const endOf = (offloading: ReturnType<typeof offload>) =>
  offloading.then(
    ({ output }) => Buffer.from(output).toString(),
    (error) => error.context.refusal as number,
  );
const metrics = () => getControl(api, '/metrics');
/** How many offloads came to this end at the broker, whatever its client had time to learn. */
const ended = async (result: string) =>
  Number(new RegExp(`^broker_offloads_total\\{.*result="${result}"\\} (\\d+)$`, 'm').exec(await metrics())?.[1] ?? 0);

const endedBy = async (...results: string[]) =>
  (await Promise.all(results.map(ended))).reduce((sum, count) => sum + count, 0);

// One tenant has one tender less than a task may have: that one is for the others.
test('a pool grows with what runs at the same time, and shrinks when that is over', async () => {
  const [loop] = await start({ '1': guestImage('loop') }, { maxTendersPerTask: 4, idleMs: 500 });
  expect(tenders()).toHaveLength(1);
  const ends = Promise.all(Array.from({ length: 6 }, () => endOf(offload(loop!, '', 700))));
  // A process begins and ends a moment before the broker counts it so.
  const both = (count: number) => tenders().length === count && broker.status().packages[0]!.tenders === count;
  await vi.waitUntil(() => both(3), { timeout: 60_000, interval: 5 });
  await ends;
  // Those that had a tender ran until their budget was spent. The others waited in vain, or were refused because they would
  // have. How many these are depends on how soon the machine starts a tender.
  const all = () => endedBy('GuestDeadline', 'OffloadCancelled', 'BudgetSpentInQueue', 'DeadlineUnreachable');
  await vi.waitFor(async () => expect(await all()).toBe(6), { timeout: 60_000 });
  expect(await endedBy('GuestDeadline', 'OffloadCancelled')).toBeGreaterThanOrEqual(1);
  // The one that is left may begin anew: a loop has been ended in it.
  await vi.waitUntil(() => both(1) && broker.status().packages[0]!.tender === 'Waiting', { timeout: 60_000 });
  const [status] = broker.status().packages;
  expect(status).toMatchObject({ tenders: 1, restarts: 0 });
  expect(status!.cpuMs).toBeGreaterThan(10);
});

longIt('one of several that is killed costs its own call and no other', async () => {
  const [loop] = await start({ '1': guestImage('loop') }, { maxTendersPerTask: 4 });
  // No tenant has more of them than there are processors, and two where there is one.
  const ends = Promise.all([1, 2].map(() => endOf(offload(loop!, '', 4000))));
  await vi.waitUntil(() => broker.status().packages[0]!.calls === 2, { timeout: 60_000 });
  // The one that was there before the first offload.
  const [victim] = tenders();
  process.kill(victim!, 'SIGKILL');
  expect((await ends).filter((end) => end === ErrorCode.TenderDied)).toHaveLength(1);
  // A vehicle whose budget is spent cancels, at the moment at which the broker ends the run by itself.
  await vi.waitFor(async () => expect(await endedBy('GuestDeadline', 'OffloadCancelled')).toBe(1), { timeout: 60_000 });
  expect(await ended('TenderDied')).toBe(1);
  await vi.waitUntil(() => broker.status().packages[0]!.restarts === 1, { timeout: 60_000 });
  expect(tenders()).not.toContain(victim);
});

test('tender after tender killed: quarantine with a reason, and the way out of it', async () => {
  const [echo] = await start({ '1': taskImage('echo') }, { maxTendersPerTask: 1 });
  for (let i = 0; i < 5; i++) {
    await vi.waitUntil(() => broker.status().packages[0]!.tender === 'Waiting', { timeout: 60_000 });
    process.kill(tenders()[0]!, 'SIGKILL');
    await vi.waitUntil(() => broker.status().packages[0]!.tender !== 'Waiting', { timeout: 60_000 });
  }
  expect(broker.status().packages[0]).toMatchObject({
    tender: 'Quarantined',
    reason: expect.stringMatching(/^echo 1 is in quarantine for 10 s, because .*was ended by SIGKILL/),
  });
  expect(await metrics()).toContain('broker_packages{state="Quarantined"} 1');
  await expect(offload(echo!, 'x', 60_000)).rejects.toMatchObject({
    message: expect.stringMatching(/echo cannot be run here now: echo 1 is in quarantine/),
    context: { refusal: ErrorCode.PackageQuarantined },
  });
  await vi.waitUntil(() => broker.status().packages[0]!.tender === 'Waiting', { timeout: 60_000 });
  expect(await endOf(offload(echo!, 'well again'))).toBe('well again');
});

longIt('what does not fit into the memory is loaded with its offload, and the limit holds', async () => {
  const versions = Array.from({ length: 20 }, (_, i) => [`1.${i}`, guestImage('hello')] as const);
  // What one tender declares fits; twenty of them do not, measured or not.
  const tenderMemory = 1_100_000;
  const digests = await start(Object.fromEntries(versions), { tenderMemory, maxTendersPerTask: 2 });
  const loaded = () => broker.status().packages.filter(({ tenders: count }) => count > 0).length;
  const memory = () => broker.status().packages.reduce((sum, one) => sum + one.memory, 0);
  expect(loaded()).toBeGreaterThan(0);
  expect(loaded()).toBeLessThan(20);
  const expected = await endOf(offload(digests[0]!));
  expect(typeof expected).toBe('string');
  for (const digest of [...digests, ...digests]) {
    expect(await endOf(offload(digest))).toBe(expected);
    expect(memory()).toBeLessThanOrEqual(tenderMemory);
  }
  expect(loaded()).toBeLessThan(20);
  expect(await Promise.all(digests.map((digest) => endOf(offload(digest, '', 60_000))))).toEqual(
    digests.map(() => expected),
  );
});

test('the memory of a waiting tender is measured where that can be read, and declared where it cannot', async () => {
  await start({ '1': taskImage('echo') }, {});
  const { memory } = broker.status().packages[0]!;
  // echo declares 512 KiB, and 4 MiB each for input and output.
  if (process.getuid?.() === 0) expect(memory).toBeLessThan(1024 * 1024);
  else expect(memory).toBeLessThanOrEqual((8 * 1024 + 512) * 1024);
  expect(memory).toBeGreaterThan(0);
  expect(await metrics()).toContain(`broker_tender_memory_bytes ${memory}`);
});
