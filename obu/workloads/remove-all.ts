import { untilAborted } from '../../shared/base/pause.ts';
import type { Engine } from '../engine/docker-client.ts';
import { Label } from './container-spec.ts';
import type { StepRunner } from './executors.ts';

/**
 * Stops and removes every container of this OBU, all at the same time.
 * @param hurry When it fires, they are killed.
 * @throws the first error of the engine, after all have been tried
 */
export async function removeAllContainers(
  engine: Engine,
  owner: string,
  runner: StepRunner,
  hurry: AbortSignal | undefined,
): Promise<void> {
  const containers = await engine.calls.listContainers({ all: true, filters: { label: [`${Label.owner}=${owner}`] } });
  const results = await Promise.allSettled(
    containers.map(async ({ Id }) => {
      if (hurry === undefined) await runner.stopContainer(Id);
      else if (!hurry.aborted) await Promise.race([runner.stopContainer(Id), untilAborted(hurry)]);
      await runner.removeContainer(Id); // kills it when it still runs
    }),
  );
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}
