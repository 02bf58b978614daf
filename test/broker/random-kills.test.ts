import { randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { buildTask } from '../../broker/unikernel/toolchain/build-task.ts';
import { Deadline } from '../../shared/base/deadline.ts';
import { isKerbError } from '../../shared/base/errors.ts';
import { silentLog } from '../../shared/base/log.ts';
import { ensureDevelopmentIdentities } from '../../shared/identity/development.ts';
import type { Identity } from '../../shared/identity/identity.ts';
import { loadIdentity } from '../../shared/identity/x509-identity.ts';
import { BrokerLink } from '../../shared/v2e-client/broker-link.ts';
import type { BrokerResult } from '../../shared/v2e-client/offload-result.ts';
import { Random } from '../fuzz/mutants.ts';
import { BrokerProcess } from '../support/broker/broker-process.ts';
import { rounds, sayProgress } from '../support/rounds.ts';

// Broker, tenders and callers are killed at random moments while offloads are under way: each of them is accounted for. Who
// asks again with the same id gets a result in the end, the right one, and the same as whoever got it before.

const top = join(import.meta.dirname, '../..');
const KILLS = rounds(40, 1000);
const CALLERS = 3;
const AT_ONCE = 4;
/** Every so many kills it is the broker, in the middle of what it does. */
const BROKER_EVERY = 8;
const KEEP_MS = 3_600_000;
const TERMS = { serviceClass: 'normal', keepMs: KEEP_MS, durable: true } as const;

let root: string;
let identities: { vehicle: string; broker: string };
let identity: Identity;
let digest: string;
let broker: BrokerProcess;

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'kerb-random-kills-'));
  const names = { vehicle: 'car-1', broker: 'rsu-1', tenant: 'ACME' };
  identities = await ensureDevelopmentIdentities(join(root, 'identity'), names);
  identity = await loadIdentity(identities.vehicle, 'vehicle');
  digest = await buildTask(join(top, 'examples/tasks/echo'), join(root, 'packages', 'echo'));
  broker = await BrokerProcess.create(root, identities.broker, ['--blank-tenders', '0']);
});
afterAll(async () => {
  await broker?.kill();
  rmSync(root, { recursive: true, force: true });
});

/** Tenders are children of the broker. */
function killTender(random: Random): boolean {
  const { pid } = broker;
  const tenders = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((one) => parentOf(one) === pid);
  if (tenders.length === 0) return false;
  try {
    process.kill(random.of(tenders), 'SIGKILL');
    return true;
  } catch {
    return false; // it has ended by itself meanwhile
  }
}

/** Tenders of this tree without a broker. Those of a broker that was killed end by themselves, soon. */
function orphans(): string[] {
  const program = join(top, 'build/unikernel/kerb-tender');
  return readdirSync('/proc').filter((name) => {
    try {
      return /^\d+$/.test(name) && readlinkSync(`/proc/${name}/exe`) === program && parentOf(Number(name)) === 1;
    } catch {
      return false; // it has ended meanwhile, or is none of ours
    }
  });
}

function parentOf(pid: number): number | undefined {
  try {
    const [, parent] = /^\d+ \(.*\) \S (\d+)/s.exec(readFileSync(`/proc/${pid}/stat`, 'latin1')) ?? [];
    return Number(parent);
  } catch {
    return undefined;
  }
}

interface Asked {
  readonly id: string;
  readonly input: Buffer;
}

/** One that asks, and asks again whatever it has no result of: what a caller leaves open, who comes after it takes over. */
class Caller {
  readonly open: Asked[] = [];
  readonly done: Asked[] = [];
  /** What it was told instead of a result, by code. */
  readonly told = new Map<number, number>();
  #link = this.#connect();
  #isOver = false;

  #connect(): BrokerLink {
    const target = { id: 'rsu-1', url: broker.url };
    const link = new BrokerLink({ target, identityTrouble: () => '', log: silentLog() });
    link.start(identity);
    return link;
  }

  /** Its connection ends in the middle of whatever is under way, and it remembers nothing but ids and inputs. */
  die(): void {
    this.#link.stop('killed');
    this.#link = this.#connect();
  }

  async work(name: string, random: Random): Promise<void> {
    for (let number = 0; !this.#isOver; number++) {
      const size = random.below(16) === 0 ? 60_000 : 1 + random.below(500);
      await this.settle({ id: `${name}/${number}`, input: randomBytes(size) });
    }
  }

  /** Asks until there is a result. */
  async settle(asked: Asked): Promise<void> {
    this.open.push(asked);
    for (;;) {
      const output = await this.ask(asked).then(
        (result) => result.output,
        (error: unknown) => this.#note(error),
      );
      if (output !== undefined) {
        expect(asked.input.equals(output), asked.id).toBe(true);
        break;
      }
      await sleep(20);
    }
    this.open.splice(this.open.indexOf(asked), 1);
    this.done.push(asked);
  }

  ask({ id, input }: Asked): Promise<BrokerResult> {
    const request = { id, input, taskDigest: digest, isolation: 'any', priority: 500, deadline: new Deadline(20_000) };
    return this.#link.send(request as Parameters<BrokerLink['send']>[0], TERMS);
  }

  #note(error: unknown): undefined {
    // Everything else than a code is a fault of ours.
    if (!isKerbError(error)) throw error;
    this.told.set(error.code, (this.told.get(error.code) ?? 0) + 1);
    return undefined;
  }

  finish(): void {
    this.#isOver = true;
  }

  end(): void {
    this.#link.stop('the test is over');
  }
}

test(`${KILLS} random kills of broker, tenders and callers: every offload is accounted for`, async () => {
  const random = new Random(Date.now());
  const orphansBefore = new Set(orphans());
  const callers = Array.from({ length: CALLERS }, () => new Caller());
  await broker.start();
  const work = callers.flatMap((caller, one) =>
    Array.from({ length: AT_ONCE }, (_, other) => caller.work(`${one}.${other}`, random)),
  );
  const failed = Promise.all(work);
  const kills = { broker: 0, tender: 0, caller: 0 };
  const doneOf = () => callers.reduce((sum, { done }) => sum + done.length, 0);
  for (let kill = 0; kill < KILLS; kill++) {
    sayProgress('random kills', kill, KILLS);
    // Something must have come to its end in between: else only the dead are killed.
    const before = doneOf();
    await Promise.race([vi.waitUntil(() => doneOf() > before, { timeout: 60_000, interval: 2 }), failed]);
    await sleep(random.below(30));
    if (kill % BROKER_EVERY === 4) {
      await broker.kill();
      await broker.start();
      kills.broker++;
    } else if (random.below(2) === 0 && killTender(random)) kills.tender++;
    else {
      random.of(callers).die();
      kills.caller++;
    }
  }
  for (const caller of callers) caller.finish();
  await failed;
  const all = callers.flatMap(({ done }) => done);
  expect(callers.flatMap(({ open }) => open)).toEqual([]);
  expect(all.length).toBeGreaterThanOrEqual(KILLS);
  // Each is kept, byte by byte, for who asks a second time; none is run again.
  const later = all.slice(-rounds(100, 2000));
  for (const asked of later) {
    const result = await callers[0]!.ask(asked);
    expect({ id: asked.id, kept: result.kept, same: asked.input.equals(result.output) }).toEqual({
      ...{ id: asked.id, kept: true, same: true },
    });
  }
  for (const caller of callers) caller.end();
  // Nothing waits or runs for somebody who is dead.
  await vi.waitFor(async () => expect(await broker.status()).toMatchObject({ queued: 0, clients: 0 }), {
    timeout: 10_000,
  });
  const left = () => orphans().filter((pid) => !orphansBefore.has(pid));
  await vi.waitFor(() => expect(left()).toEqual([]), { timeout: 10_000 });
  const told = callers.flatMap(({ told: codes }) => [...codes]);
  console.log(`random kills: ${JSON.stringify(kills)}, ${all.length} offloads, told ${JSON.stringify(told)}`);
});
