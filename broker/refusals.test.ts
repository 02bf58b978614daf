/** What a tenant hears of a whole broker's policy: a quota that is spent, and a task that is revoked while it is used. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, test, vi } from 'vitest';
import { ErrorCode, KerbError } from '../shared/base/errors.ts';
import { BrokerScene } from '../test/support/broker/broker-scene.ts';
import { FakeTender } from '../test/support/fake-tender.ts';
import type { BrokerParts } from './main.ts';
import type { TenderOutcome } from './tenders/process/tender.ts';

const scene = new BrokerScene();
afterAll(() => scene.remove());
afterEach(() => scene.stop());

/** A tender whose calls take half a second of a processor each, as it says. */
class Greedy extends FakeTender {
  override async call(input: Uint8Array, budgetMs: number): Promise<TenderOutcome> {
    return { ...(await super.call(input, budgetMs)), cpuMs: 500 };
  }
}

/** Input that begins with "h" runs until the tender is stopped, as a process is that is killed. */
class Endless extends FakeTender {
  #kill: (() => void) | undefined;

  override async call(input: Uint8Array, budgetMs: number): Promise<TenderOutcome> {
    if (input[0] !== 0x68) return await super.call(input, budgetMs);
    this.state = 'Busy';
    return await new Promise((_, reject) => {
      this.#kill = () => reject(new KerbError(ErrorCode.TenderDied, 'the tender was stopped'));
    });
  }

  override async stop(): Promise<void> {
    await super.stop();
    this.#kill?.();
  }
}

async function start(policy: string, parts: Partial<BrokerParts> = {}) {
  const policyFile = join(scene.root, 'policy.yaml');
  writeFileSync(policyFile, policy);
  const { broker } = await scene.start({ policyFile }, undefined, parts);
  const change = async (text: string) => {
    writeFileSync(policyFile, text);
    await broker.reload();
  };
  return { broker, change, acme: await scene.vehicle(broker), other: await scene.vehicle(broker, 'bus-1', 'Other') };
}

/** @returns what the caller of a refused offload is told */
async function refusalOf(offload: Promise<unknown>) {
  const error = await offload.then(
    () => expect.unreachable('it was not refused'),
    (reason: Error & { context: { refusal: number; retryAfterMs: number } }) => reason,
  );
  const { message, context } = error;
  return { message, refusal: context.refusal, retryAfterMs: context.retryAfterMs };
}

describe('a quota that is spent is named, with when it is worth another try, and costs no other tenant', () => {
  /** Each is refused for good: the same offload is never worth another try. */
  test.each([
    ['largestBudget', 'largestBudget: 1s', /a budget of 5 s is more than the 1 s that tenant ACME may ask for/],
    ['bytes', 'bytes: 4', /5 bytes of input are more than the 4 of tenant ACME/],
    ['memory', 'memory: 1', /bytes of memory, and tenant ACME may take 1 /],
  ])('%s, for an offload that can never be', async (quota, limit, why) => {
    const { acme, other } = await start(`tenants: { ACME: { ${limit} } }`);
    const refused = await refusalOf(scene.offload(acme, 'eeeee'));
    expect(refused).toMatchObject({ refusal: ErrorCode.QuotaSpent, retryAfterMs: 0 });
    expect(refused.message).toMatch(why);
    expect(refused.message).toContain(`(quota ${quota} of this broker's policy)`);
    expect((await scene.offload(other)).place).toBe('broker:rsu-1');
    // The link has stayed.
    expect(acme.connected).toBe(true);
  });

  // Of bytes the ingress keeps count before: broker/ingress/ingress.test.ts.
  test('offloads, while another one is open', async () => {
    const { broker, acme, other } = await start('tenants: { ACME: { offloads: 1 } }');
    const open = scene.offload(acme, 'held');
    await vi.waitUntil(() => broker.status().running === 1);
    const refused = await refusalOf(scene.offload(acme));
    expect(refused.refusal).toBe(ErrorCode.QuotaSpent);
    expect(refused.retryAfterMs).toBeGreaterThan(0);
    expect(refused.message).toMatch(/tenant ACME has 1 offloads waiting and running here, and may have 1/);
    expect(refused.message).toContain("(quota offloads of this broker's policy)");
    const taken = scene.offload(other);
    scene.release();
    await Promise.all([taken, open]);
    expect((await scene.offload(acme)).place).toBe('broker:rsu-1');
  });

  test('cpu, until some has come back', async () => {
    const policy = 'tenants: { ACME: { cpu: { perMinute: 6s, burst: 100ms } } }';
    const { acme, other } = await start(policy, { createTender: () => new Greedy() });
    await scene.offload(acme);
    const refused = await refusalOf(scene.offload(acme));
    expect(refused.refusal).toBe(ErrorCode.QuotaSpent);
    expect(refused.message).toMatch(
      /ACME has used its computing time, 6 s a minute \(quota cpu of this broker's policy\)/,
    );
    // 400 ms below zero at 100 ms a second.
    expect(refused.retryAfterMs).toBeGreaterThan(1000);
    expect(refused.retryAfterMs).toBeLessThanOrEqual(60_000);
    await scene.offload(other);
  });

  test('running: one more waits and is not refused', async () => {
    const { broker, acme } = await start('tenants: { ACME: { running: 1 } }');
    const open = scene.offload(acme, 'held');
    await vi.waitUntil(() => broker.status().running === 1);
    const next = scene.offload(acme);
    await vi.waitUntil(() => broker.status().queued === 1);
    scene.release();
    await Promise.all([open, next]);
  });
});

test('a revoked digest: what waits is refused by name, what runs is ended, who asks later is told, until it is taken back', async () => {
  const { broker, change, acme, other } = await start('{}', { createTender: () => new Endless() });
  const running = refusalOf(scene.offload(acme, 'held'));
  await vi.waitUntil(() => broker.status().running === 1);
  const waiting = refusalOf(scene.offload(other));
  await vi.waitUntil(() => broker.status().queued === 1);
  await change(`revoked: { digests: ["${scene.digest}"] }`);
  const told = { refusal: ErrorCode.TaskRevoked, message: expect.stringContaining('revoked by the policy') };
  expect(await waiting).toMatchObject(told);
  // Nothing let it go on: it is ended where it was.
  expect(await running).toMatchObject(told);
  expect(await refusalOf(scene.offload(acme))).toMatchObject(told);
  expect(broker.status()).toMatchObject({ packages: [], running: 0, queued: 0 });
  await change('{}');
  // The vehicle hears of it with the next announcement.
  const again = await vi.waitFor(() => scene.offload(acme), { timeout: 10_000 });
  expect(again.place).toBe('broker:rsu-1');
});
