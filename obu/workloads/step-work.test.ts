import { beforeEach, expect, it } from 'vitest';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import { silentLog } from '../../shared/base/log.ts';
import { container, desired } from '../../test/support/planner-scene.ts';
import { newRecord } from '../planner/restart.ts';
import type { Action } from '../planner/state.ts';
import type { ReportedEvent } from '../telemetry/report.ts';
import { RunningSteps } from './running-steps.ts';
import { StepWork, type StepWorkParts } from './step-work.ts';
import { WorkloadRecords } from './workload-records.ts';

const start: Action = {
  step: 'create-and-start',
  version: { ...desired('a'), imageId: 'sha256:1' },
  gateway: 'a',
  why: 'the manifest names it',
};
const remove: Action = { step: 'remove', container: container('a'), why: 'its configuration has changed' };

let calls: string[];
let reported: ReportedEvent[];
let fault: unknown;
let inHand: RunningSteps;
let records: WorkloadRecords;
let stop: AbortController;
let work: StepWork;
beforeEach(() => {
  calls = [];
  reported = [];
  fault = undefined;
  inHand = new RunningSteps();
  records = new WorkloadRecords({ load: () => new Map([['a', newRecord]]), save: () => {} }, silentLog());
  records.load();
  stop = new AbortController();
  const call = (name: string) => async () => void calls.push(name);
  const runner = {
    run: async () => {
      calls.push('run');
      if (fault !== undefined) throw fault;
    },
    containerOf: (step: Action) => ('container' in step ? step.container.id : undefined),
  };
  work = new StepWork({
    ...{ runner, inHand, records, log: silentLog(), stopped: stop.signal },
    beforeRemove: call('last lines'),
    report: (event: ReportedEvent) => reported.push(event),
    observer: { lookAt: call('look at it'), lookAtAll: call('look at all') },
    images: { ask: call('look at images') },
    looks: { failed: () => calls.push('engine failed'), complain: () => calls.push('engine refused') },
  } as unknown as StepWorkParts);
});

async function done(step: Action): Promise<void> {
  await new Promise<void>((resolve) => work.begin(step, resolve));
}

it('reports a step, carries it out, and has it in hand until it is seen what came of it', async () => {
  const end = done(remove);
  expect(reported).toEqual([{ event: 'step', workload: 'a', step: 'remove', why: remove.why }]);
  expect(inHand.all).toEqual([remove]);
  await end;
  expect(calls).toEqual(['last lines', 'run', 'look at it']);
  expect(inHand.all).toEqual([]);
});

it('remembers a start that the engine refused as an end of the workload, and looks at nothing', async () => {
  fault = new KerbError(ErrorCode.ContainerFailed, 'no such file: /app');
  await done(start);
  expect(calls).toEqual(['run']);
  expect(records.of('a').lastEnd).toMatchObject({ kind: 'could-not-start', message: 'no such file: /app' });
});

it('leaves a step alone for a while that the engine refuses, and says so', async () => {
  fault = Object.assign(new Error('container is paused'), { statusCode: 409 });
  await done(remove);
  expect(calls).toEqual(['last lines', 'run', 'engine refused', 'look at it']);
  expect(inHand.hasRefused).toBe(true);
});

it('takes an engine that does not answer for one that has failed', async () => {
  fault = new Error('connect ECONNREFUSED');
  await done(start);
  expect(calls).toEqual(['run', 'engine failed', 'look at all']);
  expect([inHand.hasRefused, records.of('a').lastEnd]).toEqual([false, undefined]);
});

it('says nothing about a step that a stop has cut off', async () => {
  fault = new Error('aborted');
  stop.abort();
  await done(start);
  expect(calls).toEqual(['run']);
});
