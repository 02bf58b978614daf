import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { buildTask } from '../../broker/unikernel/toolchain/build-task.ts';
import { BrokerOffloader } from '../../obu/offload/broker-offloader.ts';
import { getControl, getStatus } from '../../shared/api/control-client.ts';
import type { BrokerStatus } from '../../shared/api/status.ts';
import { Deadline } from '../../shared/base/deadline.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import { silentLog } from '../../shared/base/log.ts';
import { ensureDevelopmentIdentities } from '../../shared/identity/development.ts';
import { fixedIdentity } from '../../shared/identity/identity-watch.ts';
import { loadIdentity } from '../../shared/identity/x509-identity.ts';
import { longIt } from '../support/rounds.ts';
import { STATUS_MS } from '../support/status-ms.ts';

// `kerb broker serve` as a process of its own with a real tender, and the OBU's end of the wire in this one.

const top = join(import.meta.dirname, '../..');
let root: string;
let identities: { vehicle: string; broker: string };
let digest: string;
let offloader: BrokerOffloader | undefined;
const children: ChildProcess[] = [];
/** The broker of those tests that ask for nothing special; the last of them kills it. */
let plain: ChildProcess | undefined;

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'kerb-serve-'));
  identities = await ensureDevelopmentIdentities(join(root, 'identity'), {
    vehicle: 'car-1',
    broker: 'rsu-1',
    tenant: 'ACME',
  });
  digest = await buildTask(join(top, 'examples/tasks/echo'), join(root, 'packages', 'echo'));
});
afterEach(async () => {
  await offloader?.stop();
  for (const child of children.splice(0)) if (child !== plain) await kill(child);
});
afterAll(async () => {
  await kill(plain);
  rmSync(root, { recursive: true, force: true });
});

async function kill(child: ChildProcess | undefined): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGKILL');
  await once(child, 'exit');
}

const api = () => join(root, 'api.sock');

async function serve(
  port: number,
  ...flags: string[]
): Promise<{ child: ChildProcess; status: BrokerStatus; tender: number }> {
  const { child, status } = await serveWith(port, ...flags);
  return { child, status, tender: onlyChildOf(child.pid!) };
}

/** As `serve` without flags; at once where an earlier test has left its broker running. */
async function servePlain(): Promise<{ child: ChildProcess; status: BrokerStatus; tender: number }> {
  if (plain === undefined || plain.signalCode !== null) ({ child: plain } = await serve(0));
  const status = await getStatus<BrokerStatus>(api(), STATUS_MS);
  return { child: plain, status, tender: onlyChildOf(plain.pid!) };
}

async function serveWith(port: number, ...flags: string[]): Promise<{ child: ChildProcess; status: BrokerStatus }> {
  const child = spawn(
    process.execPath,
    [
      ...[join(top, 'cli/kerb.ts'), 'broker', 'serve', '--id', 'rsu-1', '--listen', `127.0.0.1:${port}`],
      ...['--identity', identities.broker, '--packages', join(root, 'packages'), '--allow-unsigned'],
      ...['--state', join(root, 'state'), '--api', api(), '--blank-tenders', '0', ...flags],
    ],
    { stdio: ['ignore', 'ignore', 'inherit'], env: { ...process.env, KERB_LOG: 'error' } },
  );
  children.push(child);
  const status = await vi.waitFor(() => getStatus<BrokerStatus>(api()), { timeout: 20_000, interval: 100 });
  return { child, status };
}

function onlyChildOf(pid: number): number {
  const found = childrenOf(pid);
  expect(found).toHaveLength(1);
  return found[0]!;
}
const childrenOf = (pid: number): number[] =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').split(' ').filter(Boolean).map(Number);

/** One that has ended and that init has yet to reap does not count. */
function isThere(pid: number): boolean {
  try {
    return !/^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, 'latin1'));
  } catch {
    return false;
  }
}

async function connect(url: string): Promise<void> {
  const identity = fixedIdentity(await loadIdentity(identities.vehicle, 'vehicle'));
  offloader = new BrokerOffloader({ brokers: [{ id: 'rsu-1', url }], identity, log: silentLog() });
  await offloader.start();
  await connected();
}
const connected = () => vi.waitUntil(() => offloader!.places()[0]!.connected, { timeout: 20_000 });

let nextId = 0;
function offload(input: Buffer, budgetMs = 5000) {
  const asked = { isolation: 'any', deadline: new Deadline(budgetMs), priority: 500 } as const;
  return offloader!.offload({ id: `test/${nextId++}`, taskDigest: digest, input, ...asked });
}

longIt('a broker that is stopped is not called connected, and is used again when it goes on', async () => {
  const { child, status } = await serveWith(0);
  await connect(status.url);
  child.kill('SIGSTOP');
  try {
    const began = performance.now();
    await expect(offload(Buffer.from('x'), 400)).rejects.toMatchObject({ code: ErrorCode.BudgetExhausted });
    await vi.waitUntil(() => !offloader!.places()[0]!.connected, { timeout: 20_000 });
    const [place] = offloader!.places();
    expect(place!.reason).toMatch(/^no answer for \d+\.\d s/);
    expect(place!.silentMs).toBeLessThanOrEqual(performance.now() - began + 20_000);
    // Given up after ten seconds, it is still said for how long it has not answered.
    await vi.waitUntil(() => /^no answer for \d\d/.test(offloader!.places()[0]!.reason), { timeout: 60_000 });
  } finally {
    child.kill('SIGCONT');
  }
  await connected();
  expect((await offload(Buffer.from('again'))).output.toString()).toBe('again');
});

test('blank tenders wait, the first offload takes one, another one takes its place, and SIGTERM ends them all', async () => {
  const { child, status } = await serveWith(0, '--prestart', 'none', '--blank-tenders', '2', '--isolation', 'process');
  const pid = child.pid!;
  const blank = childrenOf(pid);
  expect(blank).toHaveLength(2);
  await connect(status.url);
  expect((await offload(Buffer.from('first'))).output.toString()).toBe('first');
  await vi.waitFor(() => expect(childrenOf(pid)).toHaveLength(3), { timeout: 5_000 });
  expect(childrenOf(pid)).toEqual(expect.arrayContaining(blank));
  const all = childrenOf(pid);
  child.kill('SIGTERM');
  expect(await once(child, 'exit')).toEqual([0, null]);
  for (const tender of all) expect(isThere(tender)).toBe(false);
});

test('pictures of every size come back as they were, and SIGTERM leaves nothing behind', async () => {
  const { child, status, tender } = await serve(0, '--isolation', 'process');
  expect(status.packages).toMatchObject([
    { digest, name: 'echo', version: '1.0.0', tender: 'Waiting', isolation: 'process' },
  ]);
  await connect(status.url);
  for (const size of [0, 1, 4096, 262_144, 262_145, 1_048_576, 4_194_304]) {
    const input = Buffer.alloc(size, size % 251);
    const { output, place, runMs, totalMs } = await offload(input);
    expect(input.equals(output), `${size} bytes`).toBe(true);
    expect(place).toBe('broker:rsu-1');
    expect(runMs).toBeLessThanOrEqual(totalMs);
  }
  child.kill('SIGTERM');
  expect(await once(child, 'exit')).toEqual([0, null]);
  expect(existsSync(api())).toBe(false);
  await vi.waitUntil(() => !isThere(tender));
});

test('with --prestart none, nothing is loaded before the first offload, and --max-tenders bounds what is', async () => {
  const { child, status } = await serveWith(0, '--prestart', 'none', '--max-tenders', '1', '--tender-memory', '16m');
  expect(status.packages).toMatchObject([{ digest, tender: 'Stopped', tenders: 0 }]);
  await connect(status.url);
  const outputs = await Promise.all(['a', 'b', 'c', 'd'].map((text) => offload(Buffer.from(text))));
  expect(outputs.map(({ output }) => Buffer.from(output).toString())).toEqual(['a', 'b', 'c', 'd']);
  onlyChildOf(child.pid!);
});

test('without a word on it, the isolation is the strongest that the machine has, and is told to whoever offloads', async () => {
  const { status } = await servePlain();
  const [echo] = status.packages;
  expect(['process', 'vm']).toContain(echo?.isolation);
  await connect(status.url);
  expect((await offload(Buffer.from('x'))).isolation).toBe(echo?.isolation);
  expect(await getControl(api(), '/metrics')).toContain(
    `broker_tenders{isolation="${echo?.isolation}",state="Waiting"} 1`,
  );
  expect(await getControl(api(), '/metrics')).toContain(
    `broker_tenders_kept_process ${echo?.processPer === 'tender' ? 1 : 0}`,
  );
  expect(['tender', 'call']).toContain(echo?.isolation === 'process' ? echo.processPer : 'call');
});

test('a tender that is killed is replaced, and nobody but its call notices', async () => {
  const { child, status, tender } = await servePlain();
  await connect(status.url);
  await offload(Buffer.from('before'));
  process.kill(tender, 'SIGKILL');
  const after = await offload(Buffer.from('after')).catch((error: unknown) => error);
  if (after instanceof Error) expect(after).toMatchObject({ context: { refusal: ErrorCode.TenderDied } });
  expect(Buffer.from((await offload(Buffer.from('again'))).output).toString()).toBe('again');
  expect(onlyChildOf(child.pid!)).not.toBe(tender);
  expect((await getStatus<BrokerStatus>(api(), STATUS_MS)).packages[0]).toMatchObject({
    tender: 'Waiting',
    restarts: 1,
  });
});

test('a broker that is killed takes its tender along; offloads fail at once and resume when it is back', async () => {
  const { child, status, tender } = await servePlain();
  await connect(status.url);
  const flood = Array.from({ length: 20 }, () => offload(Buffer.alloc(1_000_000), 60_000));
  const ends = Promise.allSettled(flood);
  await flood[0];
  child.kill('SIGKILL');
  const failed = (await ends).filter((end) => end.status === 'rejected');
  expect(failed.length).toBeGreaterThan(0);
  for (const { reason } of failed) expect(reason).toMatchObject({ code: ErrorCode.BrokerLost });
  await vi.waitUntil(() => !isThere(tender));
  // The socket that the killed one left does not keep the next one from starting.
  expect(existsSync(api())).toBe(true);
  await serve(Number(new URL(status.url).port));
  await connected();
  expect((await offload(Buffer.from('back'))).place).toBe('broker:rsu-1');
});
