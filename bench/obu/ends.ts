import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { GetEventsOptions } from 'dockerode';
import { stateLayout } from '../../obu/config/state-layout.ts';
import { reachEngine } from '../../obu/engine/docker-client.ts';
import { eventsIn } from '../../obu/engine/watch.ts';
import { Label } from '../../obu/workloads/container-spec.ts';
import { getStatus } from '../../shared/api/control-client.ts';
import type { ObuStatus } from '../../shared/api/status.ts';
import { nowUs } from '../../shared/can/userspace/userspace-protocol.ts';

const LIMIT_MS = 120_000;

/** How the end of one container became known, in milliseconds since the time that the engine gave its event. */
export interface Ends {
  /** Until a program that only listens to the engine's events had it. */
  readonly listenerMs: number;
  /** Until an answer of the OBU's status had it, which is asked for without a pause. */
  readonly statusMs: number;
}

export interface EndsOf {
  readonly api: string;
  readonly host: string;
  readonly state: string;
  /** The OBU has ended. */
  readonly isOver: () => boolean;
}

/** Fields of the engine's events that `EngineWatch` does not read. */
interface DieEvent {
  readonly timeNano?: number;
  readonly Actor?: { readonly Attributes?: Readonly<Record<string, string>> };
}

/**
 * Kills the first process of each container of an OBU, all at once and past the engine, as a crash does.
 * @returns one for each container
 * @throws Error when status does not show all of them
 */
export async function endAll({ api, host, state, isOver }: EndsOf): Promise<Ends[]> {
  const { calls, streams } = await reachEngine('external', host);
  const label = [`${Label.owner}=bench/${stateLayout(state).stateHash}`];
  const abort = new AbortController();
  const options = { filters: { event: ['die'], label }, abortSignal: abort.signal } as GetEventsOptions;
  const stream = (await streams.getEvents(options)) as unknown as Readable;
  const events = new Map<string, { readonly atUs: number; readonly heardUs: number }>();
  const listening = (async () => {
    for await (const event of eventsIn(stream)) {
      const { timeNano, Actor } = event as DieEvent;
      events.set(Actor!.Attributes![Label.workload]!, { atUs: timeNano! / 1000, heardUs: nowUs() });
    }
  })().catch(() => {}); // that is how it ends
  try {
    const running = await calls.listContainers({ filters: { label } });
    const pids = await Promise.all(running.map(async ({ Id }) => (await calls.getContainer(Id).inspect()).State.Pid));
    const shown = new Map<string, number>();
    for (const pid of pids) process.kill(pid, 'SIGKILL');
    const giveUpAt = performance.now() + LIMIT_MS;
    while (shown.size < pids.length || events.size < pids.length) {
      if (isOver() || performance.now() > giveUpAt)
        throw new Error(`of ${pids.length} ends, status shows ${shown.size} and the engine told ${events.size}`);
      const { workloads } = await getStatus<ObuStatus>(api);
      const us = nowUs();
      for (const one of workloads) if (one.state !== 'Running' && !shown.has(one.name)) shown.set(one.name, us);
      await sleep(1);
    }
    return [...events].map(([name, { atUs, heardUs }]) => ({
      listenerMs: (heardUs - atUs) / 1000,
      statusMs: (shown.get(name)! - atUs) / 1000,
    }));
  } finally {
    abort.abort();
    stream.destroy();
    await listening;
  }
}
