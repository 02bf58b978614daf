import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { silentLog } from '../../shared/base/log.ts';
import { container } from '../../test/support/planner-scene.ts';
import { workloadOf } from '../../test/support/workload.ts';
import type { ContainerInterfaces } from '../can-interface/container-interface.ts';
import type { Engine } from '../engine/docker-client.ts';
import type { Gateways } from '../gateway/gateways.ts';
import { StepRunner } from './executors.ts';

/** An engine whose every call fails like this. */
function runnerOf(error: Error): StepRunner {
  const fail = () => Promise.reject(error);
  const one = { pause: fail, inspect: fail, remove: fail };
  const engine = { host: 'unix:///s', calls: { getContainer: () => one }, streams: {} } as unknown as Engine;
  const gateways = {} as Gateways; // nothing gets as far as them
  const interfaces = {} as ContainerInterfaces;
  const places = { owner: 'o', stateHash: 's', namePrefix: 'n', data: '/nowhere' };
  return new StepRunner({
    engine,
    gateways,
    interfaces,
    ...places,
    group: '/g',
    memoryLeft: () => 0,
    log: silentLog(),
  });
}
const seen = { containers: [container('a'), container('b')], images: new Map(), kept: new Map() };
const refusal = Object.assign(new Error('HTTP 500'), { statusCode: 500, json: { message: 'no freezer here' } });

it.each(['freeze', 'stop', 'remove'] as const)(
  'a container that the engine cannot %s is planned around',
  async (step) => {
    const runner = runnerOf(refusal);
    expect(runner.see(seen).containers.map(({ state }) => state)).toEqual(['running', 'running']);
    expect(await runner.run({ step, container: seen.containers[0]!, why: '' })).toBe(false);
    expect(runner.see(seen).containers.map(({ state }) => state)).toEqual(['removing', 'running']);
  },
);

it('an engine that does not answer is an error', async () => {
  const runner = runnerOf(new Error('socket hang up'));
  await expect(runner.run({ step: 'freeze', container: seen.containers[0]!, why: '' })).rejects.toThrow('hang up');
  expect(runner.see(seen).containers.map(({ state }) => state)).toEqual(['running', 'running']);
});

it('a kernel without weights for disks gets containers without one, and is not asked again', async () => {
  const made: { BlkioWeight?: number }[] = [];
  const lacking = 'runc: openat2 /sys/fs/cgroup/docker/x/io.weight: no such file or directory: unknown';
  const container = (weight: number | undefined) => ({
    id: `c${made.length}`,
    start: () =>
      weight === undefined
        ? Promise.resolve()
        : Promise.reject(Object.assign(new Error('HTTP 500'), { statusCode: 500, json: { message: lacking } })),
    remove: () => Promise.resolve(),
  });
  const calls = {
    getImage: () => ({ inspect: () => Promise.resolve({ Config: { User: '' } }) }),
    getContainer: () => container(undefined),
    createContainer: ({ HostConfig }: { HostConfig: { BlkioWeight?: number } }) => {
      made.push(HostConfig);
      return Promise.resolve(container(HostConfig.BlkioWeight));
    },
  };
  const engine = { host: 'unix:///s', calls, streams: {} } as unknown as Engine;
  const done = () => Promise.resolve();
  const gateways = { open: done, close: done, folder: () => '/g' } as unknown as Gateways;
  const interfaces = { prepare: done, attach: done, detach: done } as unknown as ContainerInterfaces;
  const data = await mkdtemp(join(tmpdir(), 'kerb-executors-'));
  try {
    const places = { owner: 'o', stateHash: 's', namePrefix: 'n', data };
    const parts = { engine, gateways, interfaces, ...places, group: '/g', memoryLeft: () => 64 * 2 ** 20 };
    const runner = new StepRunner({ ...parts, log: silentLog() });
    for (const name of ['a', 'b']) {
      const workload = workloadOf({ name });
      const version = { workload, imageId: 'sha256:1', configHash: 'h' };
      await runner.run({ step: 'create-and-start', version, gateway: name, why: '' });
    }
    expect(made.map(({ BlkioWeight }) => BlkioWeight)).toEqual([505, undefined, undefined]);
  } finally {
    await rm(data, { recursive: true });
  }
});
