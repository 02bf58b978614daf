import { expect, it } from 'vitest';
import { silentLog } from '../../shared/log.ts';
import type { Gateways } from '../gateway/gateways.ts';
import { container } from '../planner/test-scene.ts';
import type { Engine } from './docker-client.ts';
import { StepRunner } from './executors.ts';

/** An engine whose every call fails like this. */
function runnerOf(error: Error): StepRunner {
  const fail = () => Promise.reject(error);
  const one = { pause: fail, inspect: fail, remove: fail };
  const engine = { host: 'unix:///s', calls: { getContainer: () => one }, streams: {} } as unknown as Engine;
  const gateways = {} as Gateways; // nothing gets as far as them
  const places = { owner: 'o', stateHash: 's', namePrefix: 'n', data: '/nowhere' };
  return new StepRunner({ engine, gateways, ...places, log: silentLog() });
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
