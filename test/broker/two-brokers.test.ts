/** Choosing between two real brokers, and what `kerb explain --offload` prints of it. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, expect, it } from 'vitest';
import type { RunningBroker } from '../../broker/main.ts';
import { decisionLines } from '../../cli/obu/decision-lines.ts';
import { decisionOf } from '../../obu/api/workload-routes.ts';
import { BrokerOffloader } from '../../obu/offload/broker-offloader.ts';
import { Deadline } from '../../shared/base/deadline.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import { silentLog } from '../../shared/base/log.ts';
import { fixedIdentity } from '../../shared/identity/identity-watch.ts';
import { loadIdentity } from '../../shared/identity/x509-identity.ts';
import type { RoutedOffload } from '../../shared/protocol/offload-request.ts';
import { BrokerScene } from '../support/broker/broker-scene.ts';
import { until } from '../support/until.ts';

const scene = new BrokerScene();
let offloader: BrokerOffloader | undefined;
afterEach(async () => {
  await offloader?.stop();
  await scene.stop();
});
afterAll(() => scene.remove());

async function start(id: string, policy: string): Promise<RunningBroker> {
  const policyFile = join(scene.root, `${id}.yaml`);
  writeFileSync(policyFile, policy);
  const identityDir = await scene.identityDir({ kind: 'broker', id, hosts: [] });
  return (await scene.start({ id, identityDir, policyFile })).broker;
}

async function connect(brokers: readonly { id: string; url: string; kind: 'roadside' | 'cloud' }[]) {
  const identity = await loadIdentity(
    await scene.identityDir({ kind: 'vehicle', id: 'car-1', tenant: 'ACME' }),
    'vehicle',
  );
  const own = new BrokerOffloader({ brokers, identity: fixedIdentity(identity), vehicle: 'car-1', log: silentLog() });
  offloader = own;
  await own.start();
  await until('both brokers are connected', () => own.places().every(({ connected }) => connected));
  return own;
}

function request(id: string, input: string, change: Partial<RoutedOffload> = {}): RoutedOffload {
  const [isolation, deadline, priority] = ['any', new Deadline(30_000), 500] as const;
  return { id, taskDigest: scene.digest, input: Buffer.from(input), isolation, deadline, priority, ...change };
}

it('the cheap one is chosen, refuses, and the other one takes it; explain prints why', async () => {
  const near = await start('rsu-1', 'tenants: { ACME: { bytes: 4 } }');
  const far = await start('cloud-1', '{}');
  const own = await connect([
    { id: 'cloud-1', url: far.url, kind: 'cloud' },
    { id: 'rsu-1', url: near.url, kind: 'roadside' },
  ]);
  expect(() => decisionOf('last', { offloader: own })).toThrow('no offload has been sent since the OBU started');
  expect((await own.offload(request('w/small', 'e'))).place).toBe('broker:rsu-1');
  expect((await own.offload(request('w/large', 'eeeee'))).place).toBe('broker:cloud-1');

  const shown = JSON.parse(JSON.stringify(decisionOf('large', { offloader: own })));
  expect(shown).toMatchObject({ id: 'w/large', budgetMs: 30_000, inputBytes: 5 });
  expect(shown.attempts).toMatchObject([
    { place: 'broker:rsu-1', reason: 'cheapest that keeps 20 % of the budget' },
    { place: 'broker:cloud-1', outcome: 'answered', places: [{ verdict: 'feasible' }, { verdict: 'tried already' }] },
  ]);
  expect(shown.attempts[0].outcome).toContain('(quota bytes of this broker');
  const lines = decisionLines(shown);
  expect(lines[0]).toMatch(/^w\/large: 5 bytes of input, a budget of 30000 ms, at /);
  expect(lines[1]).toMatch(
    /^ {2}to broker:rsu-1 \(cheapest that keeps 20 % of the budget\) with .*5 bytes of input are more/,
  );
  expect(lines.filter((line) => / taken$/.test(line)).map((line) => line.split(/ +/)[1])).toEqual([
    'broker:rsu-1',
    'broker:cloud-1',
  ]);
  expect(lines.some((line) => /broker:rsu-1 .* tried already$/.test(line))).toBe(true);

  expect(() => decisionOf('w/none', { offloader: own })).toThrow(
    expect.objectContaining({
      code: ErrorCode.UnknownOffload,
      message: 'no offload "w/none" is among the newest 64, which are kept; ask for "last" or the id of a newer one',
    }),
  );

  // The first of the list keeps the state of sessions.
  const barred = own.offload(request('w/state', 'e', { stateKey: 'k', kinds: ['roadside'], maxCost: 2 }));
  await expect(barred).rejects.toMatchObject({
    code: ErrorCode.NoBroker,
    message:
      'broker:cloud-1, which keeps the session state, is left out by the grant of the workload (places: [roadside], maxCost: 2): its kind is cloud, its cost 3',
  });
  await own.offload(request('w/home', 'e', { stateKey: 'k' })).catch(() => {});
  expect(decisionOf('state', { offloader: own }).attempts[0]).toMatchObject({ place: '' });
  expect(decisionOf('last', { offloader: own }).attempts).toMatchObject([
    {
      ...{ place: 'broker:cloud-1', reason: 'it keeps the session state' },
      places: [{ verdict: 'feasible' }, { place: 'broker:rsu-1', verdict: 'does not keep the session state' }],
    },
  ]);

  // One that stops is left, and the other one is asked.
  await near.stop();
  expect((await own.offload(request('w/after', 'e'))).place).toBe('broker:cloud-1');
});
