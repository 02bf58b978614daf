/** The death of the engine is not the failure of what runs on it; the kernel's kill of one process is told. */
import { readdirSync, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { signal } from '../../obu/engine/processes.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import { rounds } from '../support/rounds.ts';
import { until } from '../support/until.ts';
import { buildImage, busyWorkload, newState, Runtime } from './runtime.ts';

const MIB = 2 ** 20;
const state = newState();
const runtime = new Runtime(state, 'pressure: { memory: 100, cpu: 100 }\nreserve: { memory: 0, cpus: 0 }');

beforeAll(async () => {
  await runtime.start();
  await buildImage(runtime.engine);
});

afterAll(async () => {
  await runtime.stop();
  await rm(state, { recursive: true, force: true });
});

/** Folders of the kernel's control groups with this in their name, however deep. */
function groups(name: string, folder = '/sys/fs/cgroup', depth = 0): string[] {
  const below = readdirSync(folder, { withFileTypes: true }).filter((one) => one.isDirectory());
  return below.flatMap((one) => {
    const path = join(folder, one.name);
    if (one.name.includes(name)) return [path];
    return depth < 2 ? groups(name, path, depth + 1) : [];
  });
}

it('a killed engine uses up no restart, and what ran comes back, with `restart: no` as well', async (context) => {
  if (runtime.engine.kind === 'external')
    context.skip('this machine has a Docker Engine of its own, which is not ours to kill');
  const fragile = busyWorkload({ name: 'fragile', priority: 1000, restart: { policy: 'no' } });
  const twice = busyWorkload({ name: 'twice', restart: { policy: 'on-failure', maxRetries: 0 } });
  const done = busyWorkload({ name: 'done', restart: { policy: 'no' }, command: ['sh', '-c', 'exit 3'] });
  runtime.apply(fragile, twice, done);
  for (const name of ['fragile', 'twice']) await runtime.until(name, 'Running(Ok)');
  await runtime.until('done', 'Failed(ExitCode)');
  for (let round = 0; round < rounds(1, 2); round++) {
    const before = [await runtime.container('fragile'), await runtime.container('twice')];
    signal(Number(readFileSync(runtime.layout.engine.pidFile, 'utf8')), 'SIGKILL');
    for (const [i, name] of ['fragile', 'twice'].entries()) {
      const isNew = async () => {
        const all = await runtime.containers(name).catch(() => []);
        return all.length === 1 && all[0]!.Id !== before[i]!.Id && all[0]!.State.Running;
      };
      await until(`a new container of ${name} runs`, isNew);
      await runtime.until(name, 'Running(Ok)');
      expect(runtime.reconciler.memory(name)).toMatchObject({ failures: 0, restarts: 0, lastEnd: undefined });
    }
    // What had ended before is not run again.
    expect(runtime.word('done')).toBe('Failed(ExitCode)');
    expect(runtime.reconciler.memory('done')).toMatchObject({ failures: 1 });
    const known = [...(await runtime.containers('fragile')), ...(await runtime.containers('twice'))].map(
      ({ Id }) => Id,
    );
    for (const folder of groups(`kerbside-${runtime.layout.stateHash}`)) {
      for (const { name } of readdirSync(folder, { withFileTypes: true }).filter((one) => one.isDirectory()))
        expect(known).toContain(name);
    }
  }
  runtime.apply();
  await runtime.untilGone('fragile', 'twice', 'done');
});

it('a process that the kernel kills inside of a workload is told, and the workload runs on', async () => {
  const eats = 'while :; do dd if=/dev/zero of=/dev/null bs=200M count=1; sleep 1; done';
  runtime.apply(busyWorkload({ name: 'eats', memLimit: 32 * MIB, command: ['sh', '-c', eats] }));
  const told = () => runtime.errors.list().find(({ code }) => code === ErrorCode.ProcessKilled);
  const error = await until('the killed process is told', told, () => runtime.errors.list());
  expect(error).toMatchObject({ source: 'workload eats' });
  expect(runtime.word('eats')).toBe('Running(Ok)');
  expect(runtime.reconciler.memory('eats')).toMatchObject({ failures: 0, restarts: 0 });
  runtime.apply();
  await runtime.untilGone('eats');
});

it('leaves no control group behind', async () => {
  await runtime.stop();
  expect(groups(`kerbside-${runtime.layout.stateHash}`)).toEqual([]);
});
