/** One slow step holds up nobody else, and a state is what the engine has, as it changes. */
import { rm } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, expect, it, vi } from 'vitest';
import { useSharedEngine } from '../support/machine/shared-engine.ts';
import { longIt } from '../support/rounds.ts';
import { until } from '../support/until.ts';
import { buildImage, busyWorkload, newState, Runtime } from './runtime.ts';

useSharedEngine();

const MIB = 2 ** 20;
const state = newState();
const runtime = new Runtime(
  state,
  'capacity: { memory: 8192m, cpus: 64 }\nreserve: { memory: 0, cpus: 0 }\npressure: { memory: 100, cpu: 100 }',
);
const names = new Set<string>();

/** Ends at once, but for `stubborn`, which has to be killed. */
function workload(name: string, extra: Parameters<typeof busyWorkload>[0]) {
  names.add(name);
  return busyWorkload({ memLimit: 16 * MIB, cpus: 0.1, ...extra, name });
}
const stubborn = workload('stubborn', {
  name: 'stubborn',
  priority: 0,
  preemption: 'stop',
  memLimit: 6000 * MIB,
  command: ['sh', '-c', 'trap "" TERM; while :; do sleep 3600; done'],
  stopGraceMs: 60_000,
});
const top = workload('top', { name: 'top', priority: 1000 });
const needsRoom = workload('needs-room', { name: 'needs-room', priority: 900, memLimit: 4000 * MIB });

beforeAll(async () => {
  await runtime.start();
  await buildImage(runtime.engine);
});

afterEach(async () => {
  runtime.apply();
  for (const name of names) {
    for (const { Id } of await runtime.containers(name)) {
      await runtime.engine.calls
        .getContainer(Id)
        .kill()
        .catch(() => {}); // it has ended
    }
  }
  await runtime.untilGone(...names);
});

afterAll(async () => {
  await runtime.stop();
  await rm(state, { recursive: true, force: true });
});

/** Waits until a workload has another container, and only that. */
async function untilOtherThan(name: string, id: string): Promise<void> {
  const isOther = async () => {
    const all = await runtime.containers(name);
    return all.length > 0 && all.every(({ Id }) => Id !== id);
  };
  await until(`${name} has another container`, isOther, () => runtime.reconciler.state(name));
}

const isUp = async (name: string) => (await runtime.container(name)).State.Running;

it('while a victim ignores SIGTERM, a crashed one comes back, a new one starts, and an update is made', async () => {
  const updated = workload('updated', { name: 'updated', priority: 10 });
  runtime.apply(stubborn, top, updated);
  for (const { name } of [stubborn, top, updated]) await runtime.until(name, 'Running(Ok)');
  const victim = await runtime.container('stubborn');
  const before = await runtime.container('top');
  const old = await runtime.container('updated');

  runtime.apply(stubborn, top, updated, needsRoom);
  await runtime.until('stubborn', 'Stopping()');
  await runtime.until('needs-room', 'Pending(Starting)');

  await runtime.engine.calls.getContainer(before.Id).kill();
  await untilOtherThan('top', before.Id);
  await runtime.until('top', 'Running(Ok)');
  expect((await runtime.container('top')).Id).not.toBe(before.Id);

  runtime.apply(
    stubborn,
    top,
    { ...updated, environment: { NEW: '1' } },
    needsRoom,
    workload('fresh', { name: 'fresh' }),
  );
  await runtime.until('fresh', 'Running(Ok)');
  await untilOtherThan('updated', old.Id);
  await runtime.until('updated', 'Running(Ok)');

  // All of that while the victim still has its room.
  expect(await isUp('stubborn')).toBe(true);
  expect(runtime.word('needs-room')).toBe('Pending(Starting)');
  expect(await runtime.containers('needs-room')).toEqual([]);

  await runtime.engine.calls.getContainer(victim.Id).kill();
  await runtime.until('needs-room', 'Running(Ok)');
  await runtime.until('stubborn', 'Pending(NoCapacity)');
  expect(runtime.preemptions).toEqual([['stubborn', 'needs-room']]);
});

longIt('many that start at once are told one by one, and the most important do not come last', async () => {
  const many = Array.from({ length: 16 }, (_, i) => workload(`many-${i}`, { name: `many-${i}`, priority: i }));
  runtime.apply(...many);
  const up = () => many.filter(({ name }) => runtime.word(name) === 'Running(Ok)').length;
  let partly = 0;
  const all = () => {
    if (up() > 0 && up() < many.length) partly++;
    return up() === many.length;
  };
  await until('all of them are Running(Ok)', all, () => many.map(({ name }) => runtime.word(name)));
  expect(partly).toBeGreaterThan(0);
  const started = await Promise.all(many.map(async ({ name }) => (await runtime.container(name)).State.StartedAt));
  const ranks = started.map((at) => started.filter((other) => other < at).length);
  // Twelve are started side by side, in no order among themselves: the last four come after them.
  const lead = ranks.slice(-4).reduce((a, b) => a + b) / 4;
  const tail = ranks.slice(0, 4).reduce((a, b) => a + b) / 4;
  expect(lead).toBeLessThan(tail);
});

it('an OBU that is asked to stop does not wait for a container that takes its time', async () => {
  const folder = newState();
  const other = new Runtime(
    folder,
    'pressure: { memory: 100, cpu: 100 }\nreserve: { memory: 0, cpus: 0 }\nonStop: keep',
  );
  vi.stubEnv('DOCKER_HOST', runtime.engine.host);
  try {
    await other.start([stubborn, top].map((one) => ({ ...one, memLimit: 16 * MIB })));
    await other.until('stubborn', 'Running(Ok)');
    const { Id } = await other.container('stubborn');
    other.apply(top);
    await until(
      'the stop of stubborn has begun',
      async () => runningStop(other),
      () => other.steps,
    );
    await other.leave();
    // The engine goes on with it; the OBU has not waited.
    expect((await other.engine.calls.getContainer(Id).inspect()).State.Running).toBe(true);
    for (const name of ['stubborn', 'top']) {
      for (const one of await other.containers(name))
        await other.engine.calls.getContainer(one.Id).remove({ force: true });
    }
  } finally {
    vi.unstubAllEnvs();
    await rm(folder, { recursive: true, force: true });
  }
});

const runningStop = ({ steps }: Runtime) =>
  steps.some(([workload, step]) => workload === 'stubborn' && step === 'stop');
