import { expect, it } from 'vitest';
import { silentLog } from '../../../shared/base/log.ts';
import type { Engine } from '../../engine/docker-client.ts';
import { Label } from '../container-spec.ts';
import { Observer } from './observer.ts';

/** An engine of plain values; a container that is `slow` is not answered about before it is let go. */
class FakeEngine {
  readonly containers = new Map<string, { status: string; exitCode?: number }>();
  readonly slow = new Map<string, (() => void)[]>();
  inspected: string[] = [];
  fault: Error | undefined;

  engine(): Engine {
    const inspect = async (id: string) => {
      this.inspected.push(id);
      const waiting = this.slow.get(id);
      if (waiting !== undefined) await new Promise<void>((resolve) => waiting.push(resolve));
      if (this.fault !== undefined) throw this.fault;
      const one = this.containers.get(id);
      if (one === undefined) throw Object.assign(new Error('no such container'), { statusCode: 404 });
      return {
        Id: id,
        Name: `/${id}`,
        Image: 'sha256:1',
        Config: { Labels: { [Label.owner]: 'me', [Label.workload]: id } },
        HostConfig: {},
        State: { Status: one.status, ExitCode: one.exitCode ?? 0, StartedAt: '2026-01-01T00:00:00Z', FinishedAt: '' },
      };
    };
    const listContainers = async () => {
      if (this.fault !== undefined) throw this.fault;
      return [...this.containers.keys()].map((Id) => ({ Id }));
    };
    const getContainer = (id: string) => ({ inspect: () => inspect(id) });
    return { kind: 'private', host: 'unix:///s', calls: { listContainers, getContainer } } as unknown as Engine;
  }
}

function scene(...running: string[]) {
  const fake = new FakeEngine();
  for (const id of running) fake.containers.set(id, { status: 'running' });
  const failures: unknown[] = [];
  const observer = new Observer({
    engine: fake.engine(),
    owner: 'me',
    stateHash: 's',
    log: silentLog(),
    onChange: () => {},
    onFailure: (error) => failures.push(error),
  });
  const states = () => Object.fromEntries(observer.containers.map(({ id, state }) => [id, state]));
  const lost = () => observer.containers.filter((one) => one.endedWithEngine).map(({ id }) => id);
  return { fake, observer, states, lost, failures };
}

it('one of which the engine says nothing holds up no other one', async () => {
  const { fake, observer, states } = scene('a', 'b');
  await observer.lookAtAll();
  fake.slow.set('a', []);
  const slow = observer.lookAt('a');
  fake.containers.set('a', { status: 'exited', exitCode: 3 });
  fake.containers.set('b', { status: 'exited' });
  await observer.lookAt('b');
  expect(states()).toEqual({ a: 'running', b: 'exited' });
  for (const go of fake.slow.get('a')!) go();
  await slow;
  expect(states()).toEqual({ a: 'exited', b: 'exited' });
});

it('a look that had begun before somebody asked is not an answer, and many who ask get one', async () => {
  const { fake, observer } = scene('a');
  fake.slow.set('a', []);
  const first = observer.lookAt('a');
  const others = [observer.lookAt('a'), observer.lookAt('a'), observer.lookAt('a')];
  const [go] = fake.slow.get('a')!;
  fake.slow.delete('a');
  go!();
  await Promise.all([first, ...others]);
  expect(fake.inspected).toEqual(['a', 'a']);
});

it('forgets what is gone, and hears of what is new', async () => {
  const { fake, observer, states } = scene('a', 'b');
  await observer.lookAtAll();
  fake.containers.delete('a');
  fake.containers.set('c', { status: 'created' });
  await observer.lookAtAll();
  expect(states()).toEqual({ b: 'running', c: 'created' });
});

it('what ran when the engine ended was taken along; what had ended before, or ends later, was not', async () => {
  const { fake, observer, lost } = scene('ran', 'ended', 'made', 'lives');
  fake.containers.set('ended', { status: 'exited', exitCode: 1 });
  fake.containers.delete('made');
  await observer.lookAtAll();
  observer.engineEnded(true);
  fake.fault = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' });
  await expect(observer.lookAtAll()).rejects.toThrow('ECONNREFUSED');
  observer.engineEnded(true);
  fake.fault = undefined;
  // The one that was being made when it ended has got as far as this, and a graceful end says 0.
  fake.containers.set('made', { status: 'exited', exitCode: 255 });
  fake.containers.set('ran', { status: 'exited', exitCode: 0 });
  await observer.lookAtAll();
  expect(lost().sort()).toEqual(['made', 'ran']);
  fake.containers.set('lives', { status: 'exited', exitCode: 137 });
  await observer.lookAt('lives');
  expect(lost().sort()).toEqual(['made', 'ran']);
});

it('of an engine whose end nobody saw, exit code 0 is the workload’s own', async () => {
  const { fake, observer, lost } = scene('done', 'killed');
  observer.engineEnded(false);
  fake.containers.set('done', { status: 'exited', exitCode: 0 });
  fake.containers.set('killed', { status: 'exited', exitCode: 255 });
  await observer.lookAtAll();
  expect(lost()).toEqual(['killed']);
});

it('an engine that cannot be reached is told of; a refusal about one container is not', async () => {
  const { fake, observer, failures } = scene('a');
  fake.fault = Object.assign(new Error('no'), { statusCode: 500 });
  observer.hear('a');
  await new Promise((resolve) => setTimeout(resolve, 10));
  expect(failures).toEqual([]);
  fake.fault = new Error('socket hang up');
  observer.hear('a');
  await new Promise((resolve) => setTimeout(resolve, 10));
  expect(failures).toEqual([fake.fault]);
});
