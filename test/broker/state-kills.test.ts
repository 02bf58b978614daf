import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes, randomInt } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { buildTask } from '../../broker/unikernel/toolchain/build-task.ts';
import { getStatus } from '../../shared/api/control-client.ts';
import type { BrokerStatus } from '../../shared/api/status.ts';
import { Deadline } from '../../shared/base/deadline.ts';
import { isKerbError, type KerbError } from '../../shared/base/errors.ts';
import { ensureDevelopmentIdentities } from '../../shared/identity/development.ts';
import { loadIdentity } from '../../shared/identity/x509-identity.ts';
import { BrokerClient } from '../../shared/v2e-client/broker-client.ts';
import { rounds, sayProgress } from '../support/rounds.ts';

// `kerb broker serve` as a process of its own with a real task that counts; broker, tenders and callers are killed at random
// moments. A caller asks under the same id until it is answered: after n answers the counter is n.

const top = join(import.meta.dirname, '../..');
const KEYS = ['a', 'b'];

let root: string;
let identities: { vehicle: string; broker: string };
let digest: string;
let broker: ChildProcess | undefined;
let url = '';
const clients: BrokerClient[] = [];

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'kerb-state-kills-'));
  const names = { vehicle: 'car-1', broker: 'rsu-1', tenant: 'ACME' };
  identities = await ensureDevelopmentIdentities(join(root, 'identity'), names);
  digest = await buildTask(join(top, 'examples/tasks/counter'), join(root, 'packages', 'counter'));
  writeFileSync(join(root, 'storage.key'), randomBytes(32).toString('hex'), { mode: 0o600 });
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await killBroker();
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

async function killBroker(): Promise<void> {
  const child = broker;
  broker = undefined;
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGKILL');
  await once(child, 'exit');
}

async function startBroker(): Promise<void> {
  const api = join(root, 'api.sock');
  rmSync(api, { force: true });
  broker = spawn(
    process.execPath,
    [
      ...[join(top, 'cli/kerb.ts'), 'broker', 'serve', '--id', 'rsu-1', '--listen', '127.0.0.1:0'],
      ...['--identity', identities.broker, '--packages', join(root, 'packages'), '--allow-unsigned'],
      ...['--state', join(root, 'state'), '--api', api, '--blank-tenders', '0'],
      ...['--storage-key', join(root, 'storage.key')],
    ],
    { stdio: ['ignore', 'ignore', 'inherit'], env: { ...process.env, KERB_LOG: 'silent' } },
  );
  ({ url } = await vi.waitFor(() => getStatus<BrokerStatus>(api), { timeout: 60_000, interval: 25 }));
}

/** Kills one of its tenders: a child of the broker that runs the task. */
function killTender(): boolean {
  const pid = broker?.pid;
  for (const name of readdirSync('/proc').filter((one) => /^\d+$/.test(one))) {
    try {
      const [, , parent] = readFileSync(`/proc/${name}/stat`, 'utf8').replace(/.*\) /, 'x ').split(' ');
      const isTender = readFileSync(`/proc/${name}/cmdline`, 'latin1').includes('kerb-tender');
      if (Number(parent) !== pid || !isTender) continue;
      process.kill(Number(name), 'SIGKILL');
      return true;
    } catch {
      // It has ended meanwhile.
    }
  }
  return false;
}

async function connected(): Promise<BrokerClient> {
  for (;;) {
    const identity = await loadIdentity(identities.vehicle, 'vehicle');
    const client = new BrokerClient({ url, identity, brokerId: 'rsu-1' });
    clients.push(client);
    try {
      await client.connect();
      return client;
    } catch {
      client.close();
      await sleep(20);
    }
  }
}

/** Keys that have been counted at least once. */
const answered = new Set<string>();

/** Counts until `mayEnd`; each offload under one id until it is answered, by whatever connection. @returns its answers */
async function count(key: string, name: string, mayEnd: () => boolean): Promise<number[]> {
  const answers: number[] = [];
  let client = await connected();
  while (!mayEnd()) {
    const id = `${name}/${answers.length}`;
    for (;;) {
      // A caller that dies and comes back knows no more than the id.
      if (randomInt(20) === 0) client.close();
      try {
        const request = {
          id,
          taskDigest: digest,
          input: Buffer.from('more'),
          isolation: 'any' as const,
          priority: 500,
        };
        const terms = { serviceClass: 'normal', keepMs: randomInt(2) * 1000, durable: false } as const;
        const state = { home: 'rsu-1', key };
        const result = await client.offload({ ...request, deadline: new Deadline(3000) }, { ...terms, state });
        answers.push(Number(Buffer.from(result.output)));
        answered.add(key);
        break;
      } catch (error) {
        if (!isKerbError(error)) throw error;
        expectTransient(error);
        await sleep(5);
        if (!client.connected) {
          client.close();
          client = await connected();
        }
      }
    }
  }
  return answers;
}

function expectTransient({ code, message, context }: KerbError): void {
  // What a kill can do: the connection, the tender or the time is lost, the queue is full. A lost value would be something else.
  const refusals = [7004, 7005, 7006, 7010, 7020, 7023, 8002, 8003, 8006, undefined];
  expect(refusals, `${code} ${message}`).toContain(context.refusal);
}

test('a counter is exactly n after n answers, whatever is killed', async () => {
  await startBroker();
  const kills = rounds(2, 1000);
  let done = false;
  const callers = KEYS.flatMap((key) => [0, 1].map((n) => count(key, `${key}${n}`, () => done)));
  const all = Promise.all(callers);
  all.catch(() => {});
  for (let kill = 0; kill < kills; kill++) {
    sayProgress('kills with state', kill, kills);
    await sleep(randomInt(20, 250));
    if (kill % 2 === 0) {
      await killBroker();
      await startBroker();
    } else killTender();
  }
  // On a busy machine nothing may have come to its end between two kills.
  await Promise.race([
    vi.waitUntil(() => KEYS.every((key) => answered.has(key)), { timeout: 60_000, interval: 10 }),
    all,
  ]);
  done = true;
  const answers = await all;
  for (const [i, key] of KEYS.entries()) {
    // Each number was given to exactly one offload: nothing is lost, nothing is applied twice.
    const numbers = [...answers[2 * i]!, ...answers[2 * i + 1]!].sort((a, b) => a - b);
    expect(numbers.length, key).toBeGreaterThan(0);
    expect(numbers, key).toEqual(Array.from({ length: numbers.length }, (_, n) => n + 1));
  }
  // A thief of the disk reads nothing of it.
  expect(readFileSync(join(root, 'state/state/state.db')).includes('"runMs"')).toBe(false);
});
