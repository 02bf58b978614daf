import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import type { UpdatePolicy } from '../../obu/manifest/workload.ts';
import type { UpdateState } from '../../obu/planner/state.ts';
import { configHash } from '../../obu/workloads/container-spec.ts';
import { useSharedEngine } from '../support/machine/shared-engine.ts';
import { longIt } from '../support/rounds.ts';
import { until } from '../support/until.ts';
import { buildImage, busyWorkload, healthcheck, newState, Runtime } from './runtime.ts';

useSharedEngine();

const state = newState();
const runtime = new Runtime(state, 'reserve: { memory: 256m, cpus: 0 }');
const update: UpdatePolicy = { strategy: 'kill-then-start', rollback: 'on-unhealthy', when: 'now' };
const handOver: UpdatePolicy = { ...update, strategy: 'hand-over' };

beforeAll(async () => {
  await runtime.start();
  await buildImage(runtime.engine);
});

afterAll(async () => {
  await runtime.stop();
  await rm(state, { recursive: true, force: true });
});

afterEach(async () => {
  runtime.apply();
  await runtime.untilGone('app');
});

/** @param version in its environment, so that another one is another configuration */
const app = (version: string, own: Partial<Parameters<typeof busyWorkload>[0]> = {}) =>
  busyWorkload({ name: 'app', healthcheck, environment: { VERSION: version }, update, ...own });

async function untilContainers(count: number) {
  const look = async () => {
    const containers = await runtime.containers('app');
    return containers.length === count && containers.every(({ State }) => State.Running) && containers;
  };
  return until(`${count} running containers of app`, look, () => runtime.reconciler.state('app'));
}

/** Why a version was given up: the only such reason that names the health check. */
const ILL = expect.stringContaining('health check');

/** Waits until its state is told, and where its update stands. With a health check, Running(Ok) is healthy and no less. */
async function untilTold(wanted: string, update: UpdateState | undefined): Promise<void> {
  const now = () => runtime.reconciler.state('app');
  await until(`app is ${wanted}, ${update}`, () => runtime.word('app') === wanted && now().update === update, now);
}

it('a hand-over stops the old container only when the new one is healthy, each with a gateway of its own', async () => {
  await runtime.setWell('app', true);
  runtime.apply(app('1', { update: handOver }));
  await untilTold('Running(Ok)', undefined);
  const [old] = await untilContainers(1);

  await runtime.setWell('app', false);
  runtime.apply(app('2', { update: { ...handOver, rollback: 'never' } }));
  const [first, second] = await untilContainers(2);
  expect(first!.Id).toBe(old!.Id);
  const gateways = ['app', 'app.B'].map((key) => join(runtime.layout.gateways, key, 'gateway.sock'));
  expect(gateways.map((path) => existsSync(path))).toEqual([true, true]);
  expect(second!.Mounts.map(({ Source }) => Source)).toContain(join(runtime.layout.gateways, 'app.B'));
  // What is told is the state of the old container, which the new one has not replaced.
  await untilTold('Running(Unhealthy)', 'handing-over');
  expect((await untilContainers(2)).map(({ Id }) => Id)).toEqual([old!.Id, second!.Id]);

  await runtime.setWell('app', true);
  const [left] = await untilContainers(1);
  expect(left!.Id).toBe(second!.Id);
  await untilTold('Running(Ok)', undefined);
  expect(gateways.map((path) => existsSync(path))).toEqual([false, true]);
});

it('an update that becomes unhealthy is rolled back to the last good configuration, and not tried again', async () => {
  await runtime.setWell('app', true);
  runtime.apply(app('1'));
  await untilTold('Running(Ok)', undefined);
  const bad = app('2', { healthcheck: { ...healthcheck, test: ['CMD', 'false'] } });
  runtime.apply(bad);
  await untilTold('Running(Ok)', 'rolled-back');
  const container = await runtime.container('app');
  expect(container.Config.Env).toContain('VERSION=1');
  const { Image: imageId } = container;
  expect(runtime.store.load().get('app')?.bad).toEqual({ configHash: configHash(bad), imageId, why: ILL });
  expect(runtime.reconciler.state('app').reason).toEqual(ILL);

  runtime.apply(bad, busyWorkload({ name: 'other' }));
  await runtime.until('other', 'Running(Ok)');
  expect((await runtime.container('app')).Id).toBe(container.Id);

  runtime.apply(app('3'));
  await untilTold('Running(Ok)', undefined);
  expect((await runtime.container('app')).Config.Env).toContain('VERSION=3');
});

longIt('a new image that does not work is rolled back to the last good image, which is kept from removal', async () => {
  await runtime.setWell('app', true);
  const tag = 'kerbside-test-app:1';
  const good = await buildImage(runtime.engine, tag, 'good');
  runtime.apply(app('1', { image: tag, update: handOver }));
  await untilTold('Running(Ok)', undefined);

  await runtime.setWell('app', false);
  const bad = await buildImage(runtime.engine, tag, 'bad');
  const { Id: oldContainer } = (await runtime.containers('app'))[0]!;
  const { RepoTags, Config } = await runtime.engine.calls.getImage(good).inspect();
  expect(RepoTags).toEqual([expect.stringContaining(`kerbside-good/${runtime.layout.stateHash}/`)]);
  // Only of this content: other files use the same engine.
  const label = [`kerbside.content=${Config.Labels['kerbside.content']}`];
  await runtime.engine.calls.pruneImages({ filters: { dangling: ['true'], label } });
  // The health check is that of the old container as well, whose `well` is gone.
  await untilTold('Running(Unhealthy)', 'rolled-back');
  expect(runtime.store.load().get('app')?.bad).toMatchObject({ imageId: bad, why: ILL });
  expect(runtime.reconciler.state('app').reason).toEqual(ILL);
  const [left] = await untilContainers(1);
  expect([left!.Id, left!.Image]).toEqual([oldContainer, good]);
});
