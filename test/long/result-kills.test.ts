import { randomBytes, randomInt } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { Agent } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { io, type Socket } from 'socket.io-client';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { buildTask } from '../../broker/unikernel/toolchain/build-task.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import { ensureDevelopmentIdentities } from '../../shared/identity/development.ts';
import { loadIdentity } from '../../shared/identity/x509-identity.ts';
import { kerbside } from '../../shared/protocol/generated/v2e.js';
import { v2eParser } from '../../shared/protocol/v2e-parser.ts';
import { BrokerProcess } from '../support/broker/broker-process.ts';
import { rounds } from '../support/rounds.ts';

// `kerb broker serve` as a process of its own with real tenders, killed at random moments while it works: whatever it has
// called durable is there afterwards.

const { OffloadRequest, OffloadReply, SignedReceipt } = kerbside.v2e;
type Reply = ReturnType<typeof OffloadReply.decode>;

const top = join(import.meta.dirname, '../..');
const AT_ONCE = 8;
/** Of one round; all rounds stay within what one tenant may have kept. */
const PER_ROUND = 200;
const KEEP_MS = 3_600_000;

let root: string;
let identities: { vehicle: string; broker: string };
let digest: string;
let broker: BrokerProcess;
let socket: Socket | undefined;

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'kerb-kills-'));
  const names = { vehicle: 'car-1', broker: 'rsu-1', tenant: 'ACME' };
  identities = await ensureDevelopmentIdentities(join(root, 'identity'), names);
  digest = await buildTask(join(top, 'examples/tasks/echo'), join(root, 'packages', 'echo'));
  broker = await BrokerProcess.create(root, identities.broker, ['--blank-tenders', '0']);
});
afterEach(kill);
afterAll(() => rmSync(root, { recursive: true, force: true }));

async function kill(): Promise<void> {
  socket?.disconnect();
  socket = undefined;
  await broker.kill();
}

async function start(): Promise<void> {
  await broker.start();
  const identity = await loadIdentity(identities.vehicle, 'vehicle');
  const connected: Socket = io(broker.url, {
    path: '/v2e',
    transports: ['websocket'],
    parser: v2eParser,
    agent: new Agent(identity.clientOptions('rsu-1')) as unknown as string,
    reconnection: false,
    auth: { versions: [2], features: ['receipt'] },
  });
  socket = connected;
  await new Promise<void>((resolve, reject) => {
    connected.once('hello', () => resolve());
    connected.once('connect_error', reject);
  });
}

interface Asked {
  readonly id: string;
  readonly input: Buffer;
  readonly wantReceipt: boolean;
}

/** Undefined: the broker was killed before it answered. */
function ask({ id, input, wantReceipt }: Asked): Promise<Reply | undefined> {
  const request = { id, taskDigest: digest, input, budgetMs: 60_000, keepMs: KEEP_MS, durable: true, wantReceipt };
  const { promise, resolve } = Promise.withResolvers<Reply | undefined>();
  const asked = socket!;
  const onLost = () => resolve(undefined);
  asked.once('disconnect', onLost);
  asked.emit('offload', OffloadRequest.encode(request).finish(), (bytes: Uint8Array) => {
    asked.off('disconnect', onLost);
    resolve(OffloadReply.decode(bytes));
  });
  return promise;
}

interface Acknowledged extends Asked {
  readonly receipt: Uint8Array;
}

const receiptOf = (reply: Reply): Uint8Array =>
  reply.result?.receipt == null ? new Uint8Array(0) : SignedReceipt.encode(reply.result.receipt).finish();

/** Offloads until the broker is killed, and adds what it called durable. */
async function load(round: number, acknowledged: Acknowledged[]): Promise<void> {
  let next = 0;
  const one = async () => {
    while (next < PER_ROUND) {
      const number = next++;
      const input = randomBytes(number % 20 === 0 ? 70_000 : 1 + randomInt(2000));
      const asked = { id: `r${round}/${number}`, input, wantReceipt: number % 5 === 0 };
      const reply = await ask(asked);
      if (reply === undefined) return;
      expect(reply.refusal ?? undefined).toBeUndefined();
      expect(input.equals(reply.result!.output!)).toBe(true);
      expect(receiptOf(reply).length > 0).toBe(asked.wantReceipt);
      if (reply.result!.durable) acknowledged.push({ ...asked, receipt: receiptOf(reply) });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, one));
}

async function expectKept(all: readonly Acknowledged[]): Promise<void> {
  let next = 0;
  const one = async () => {
    for (let asked = all[next++]; asked !== undefined; asked = all[next++]) {
      const reply = (await ask(asked))!;
      expect(reply.refusal ?? undefined).toBeUndefined();
      expect({ id: asked.id, kept: reply.result!.kept, durable: reply.result!.durable }).toEqual({
        id: asked.id,
        kept: true,
        durable: true,
      });
      expect(asked.input.equals(reply.result!.output!)).toBe(true);
      expect(Buffer.from(receiptOf(reply)).equals(asked.receipt)).toBe(true);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, one));
}

test('what was called durable outlives every kill, byte by byte', async () => {
  const all: Acknowledged[] = [];
  const kills = rounds(2, 40);
  for (let round = 0; round < kills; round++) {
    await start();
    await expectKept(all.slice(-2 * PER_ROUND));
    const acknowledged: Acknowledged[] = [];
    const loading = load(round, acknowledged);
    const enough = randomInt(1, 60);
    await Promise.race([vi.waitUntil(() => acknowledged.length >= enough, { timeout: 60_000, interval: 1 }), loading]);
    await sleep(randomInt(20));
    await kill();
    await loading;
    expect(acknowledged.length).toBeGreaterThanOrEqual(enough);
    all.push(...acknowledged);
  }
  await start();
  await expectKept(all);
  // The same id with another input is another offload, still.
  const reply = (await ask({ ...all[0]!, input: Buffer.from('another') }))!;
  expect(reply.refusal).toMatchObject({ code: ErrorCode.BadOffloadRequest });
  // Nothing is left of what was being written.
  const files = readdirSync(join(root, 'state/results/outputs'));
  expect(files.filter((name) => name.startsWith('.'))).toEqual([]);
});
