/** Why a workload is in its state: everything that the OBU knows of it, on one page. */

import type { Explanation } from '../../shared/api/obu.ts';
import { wallOf } from '../../shared/base/clock.ts';
import { compileScopes } from '../../shared/vss/scopes.ts';
import type { RestartPolicy, UpdatePolicy, Workload } from '../manifest/workload.ts';
import { capacityOf, claimOf } from '../planner/resources/capacity.ts';
import type { Version, WorkloadRecord } from '../planner/state.ts';
import { sentenceOf } from '../planner/state-text.ts';
import { readUsage } from '../resources/usage.ts';
import { NO_SOURCE } from '../signals/signal-store.ts';
import { mustBeWanted } from '../workloads/observation/known-states.ts';
import { grantsOf } from './grants.ts';
import type { ApiParts } from './parts.ts';
import { workloadStatus } from './status.ts';

const EVENTS = 12;
const MAX_VALUELESS = 50;

/** @throws KerbError UnknownWorkload */
export async function explain(name: string, parts: ApiParts): Promise<Explanation> {
  const { reconciler, lines, events, engine, metrics } = parts;
  const workload = workloadNamed(name, parts);
  const { resources } = reconciler;
  const memory = reconciler.memory(name);
  const containers = reconciler.containers.filter((one) => one.workload === name);
  const claim = claimOf(workload, resources.undeclared);
  const capacity = capacityOf(resources);
  const [usage] = await readUsage(engine, containers, () => workload.image);
  return {
    workload: workloadStatus(workload, reconciler, lines),
    wants: {
      memory: { bytes: claim.memory, declared: workload.memLimit !== undefined },
      cpus: { number: claim.cpus, declared: workload.cpus !== undefined },
      preemption: workload.preemption,
      restart: restartOf(workload.restart),
      update: updateOf(workload.update),
      requires: workload.requires,
      dependsOn: workload.dependsOn.map(({ workload: other, condition }) => {
        const { state, detail } = reconciler.state(other);
        return { workload: other, condition, state: detail === '' ? state : `${state}(${detail})` };
      }),
    },
    room: {
      memory: { total: capacity.memory, used: resources.used.memory },
      cpus: { total: capacity.cpus, used: resources.used.cpus },
      pressure: resources.pressure,
    },
    containers: containers.map(({ name: container, id, state, health, imageId, startedAtMs }) => ({
      name: container,
      id,
      state,
      health,
      image: imageId,
      startedAt: timeOf(startedAtMs),
    })),
    usage,
    failures: memory.failures,
    ...pastOf(memory),
    grants: grantsOf(workload),
    denied: await metrics.deniedTo(name),
    valueless: valuelessOf(workload, parts),
    deniedIds: parts.deniedIds.of(name),
    events: events.list(0, name).slice(-EVENTS),
    log: lines.recent(name),
  };
}

/** As the manifest has it. @throws KerbError UnknownWorkload */
export function workloadNamed(name: string, { reconciler }: Pick<ApiParts, 'reconciler'>): Workload {
  mustBeWanted(name, reconciler.desired);
  const found = reconciler.desired.find(({ workload }) => workload.name === name);
  return found!.workload;
}

/** Those that lose what comes first, then those of which nothing comes, and last those that nothing could report. */
export function valuelessOf({ grants }: Workload, { signals }: Pick<ApiParts, 'signals'>): Explanation['valueless'] {
  const allows = compileScopes(grants.signals);
  const without = signals
    .paths()
    .filter((path) => allows('read', path))
    .map((path) => ({ path, reason: signals.whyNone(path) }))
    .filter(({ reason }) => reason !== '');
  return without.toSorted((a, b) => worth(a) - worth(b)).slice(0, MAX_VALUELESS);
}

function worth({ reason }: { readonly reason: string }): number {
  if (/^\d/.test(reason)) return 0;
  return reason.startsWith(NO_SOURCE) ? 2 : 1;
}

function pastOf(memory: WorkloadRecord): Pick<Explanation, 'lastEnd' | 'preempted' | 'versions'> {
  const { lastEnd, preempted, version, good, bad } = memory;
  return {
    lastEnd: lastEnd && { at: timeOf(lastEnd.atMs), how: sentenceOf(lastEnd) },
    preempted: preempted && {
      at: timeOf(preempted.atMs),
      how: preempted.how,
      by: preempted.by,
      why: preempted.why,
    },
    versions: { now: versionOf(version), good: versionOf(good), bad: versionOf(bad), badWhy: bad?.why ?? '' },
  };
}

/** "configuration 0123456789abcdef with image 0123456789ab"; empty when there is none. */
function versionOf(version: Pick<Version, 'configHash' | 'imageId'> | undefined): string {
  if (version === undefined) return '';
  return `configuration ${version.configHash} with image ${version.imageId.replace('sha256:', '').slice(0, 12)}`;
}

function restartOf(policy: RestartPolicy): string {
  return policy.policy === 'on-failure' && policy.maxRetries !== undefined
    ? `on-failure:${policy.maxRetries}`
    : policy.policy;
}

function updateOf({ strategy, rollback, when }: UpdatePolicy): string {
  return `${strategy}, rollback ${rollback}, when ${when}`;
}

/** Of a moment of the steady clock, as the clock on the wall has it now. */
function timeOf(ms: number): string {
  return ms === 0 ? '' : new Date(wallOf(ms)).toISOString();
}
