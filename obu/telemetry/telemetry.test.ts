import { beforeEach, describe, expect, it } from 'vitest';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import { createLog } from '../../shared/base/log.ts';
import type { WorkloadState } from '../planner/state.ts';
import { Telemetry } from './telemetry.ts';

let lines: string[];
let telemetry: Telemetry;
beforeEach(() => {
  lines = [];
  const log = createLog('obu', { write: (line) => void lines.push(line) });
  telemetry = new Telemetry({ vehicle: 'car-1', obu: 'obu-1', log });
});

const events = () => telemetry.events.list().map(({ kind, name, word, message }) => [kind, name, word, message]);
const errors = () => telemetry.errors.list().map(({ source, code, message }) => [source, code, message]);
const logged = () => lines.map((line) => JSON.parse(line));
/** The value of a counter with these labels. */
const counted = async (name: string, labels: object) => {
  const { values } = (await telemetry.metrics.registry.getSingleMetric(name)!.get()) as {
    values: { labels: object; value: number }[];
  };
  return values.find((one) => JSON.stringify(one.labels) === JSON.stringify(labels))?.value;
};

describe('the state of a workload', () => {
  const report = (state: WorkloadState) => telemetry.report({ event: 'workload-state', workload: 'app', state });

  it('is an event and a line of the log, and no error, when nothing is wrong', () => {
    report({ state: 'Running', detail: 'Ok', reason: 'its container runs' });
    report({ state: 'Succeeded', detail: '', reason: 'it ended with exit code 0' });
    expect(events()).toEqual([
      ['workload', 'app', 'Running(Ok)', 'its container runs'],
      ['workload', 'app', 'Succeeded', 'it ended with exit code 0'],
    ]);
    expect(logged()).toMatchObject([
      { level: 'info', part: 'engine', workload: 'app', state: 'Running(Ok)', reason: 'its container runs' },
      { level: 'info', state: 'Succeeded' },
    ]);
    expect(errors()).toEqual([]);
  });

  it.each([
    ['Failed', 'ExitCode'],
    ['Pending', 'BackingOff'],
    ['Pending', 'CrashLoop'],
  ] as const)('%s(%s) is an error and a warning too', (state, detail) => {
    report({ state, detail, reason: 'it ended with exit code 1' });
    expect(errors()).toEqual([['workload app', ErrorCode.ContainerFailed, 'it ended with exit code 1']]);
    expect(logged()).toMatchObject([{ level: 'warn', workload: 'app' }]);
  });

  it('of which the image is missing is a warning, and no error: it lasts', () => {
    report({ state: 'Failed', detail: 'ImageMissing', reason: 'image app:1 is not there' });
    expect(errors()).toEqual([]);
    expect(logged()).toMatchObject([{ level: 'warn' }]);
  });
});

it('a step is an event and a line of the log', () => {
  telemetry.report({ event: 'step', workload: 'app', step: 'freeze', why: 'it makes room' });
  expect(events()).toEqual([['step', 'app', 'freeze', 'it makes room']]);
  expect(logged()).toMatchObject([{ level: 'info', part: 'engine', workload: 'app', step: 'freeze' }]);
});

it('a preemption is an event, and counted', async () => {
  const preempted = {
    how: 'freeze',
    cause: 'capacity',
    by: 'adas',
    why: 'so',
    atMs: 1,
    roomSinceMs: undefined,
  } as const;
  telemetry.report({ event: 'preempted', workload: 'music', preempted });
  expect(events()).toEqual([['preemption', 'music', 'freeze', 'for adas: so']]);
  expect(await counted('obu_preemptions_total', { victim: 'music', by: 'adas' })).toBe(1);
});

it('the fault of a workload is an event, an error, and counted, from a gateway too', async () => {
  const error = new KerbError(ErrorCode.TooManyProcesses, 'it wants more', { workload: 'app' });
  telemetry.report({ event: 'workload-fault', workload: 'app', error });
  telemetry.gatewayMeter().failure('app', error);
  expect(telemetry.events.list()).toMatchObject([
    { kind: 'refusal', name: 'app', word: 'TooManyProcesses', repeats: 1 },
  ]);
  expect(errors()).toEqual([['workload app', ErrorCode.TooManyProcesses, 'it wants more']]);
  expect(await counted('obu_workload_faults_total', { workload: 'app', reason: 'TooManyProcesses' })).toBe(2);
});

it('frames that a CAN interface denies are counted, with their ids', async () => {
  telemetry.report({ event: 'can-denied', workload: 'app', reason: 'id', frames: 7 });
  telemetry.report({ event: 'can-denied-id', workload: 'app', bus: 'can0', id: '3EA' });
  expect(await counted('obu_can_frames_denied_total', { workload: 'app', reason: 'id' })).toBe(7);
  expect(telemetry.deniedIds.of('app')).toEqual([{ bus: 'can0', id: '3EA', frames: 1 }]);
  expect(events()).toEqual([]);
});

it('what parts of the OBU cannot do is among the errors, by its source', () => {
  const error = new KerbError(ErrorCode.CanInterfaceUnavailable, 'no vxcan');
  telemetry.report({ event: 'interface-fault', workload: 'app', error });
  telemetry.report({ event: 'engine-fault', reason: 'it ended' });
  telemetry.report({ event: 'bus-fault', bus: 'can0', code: ErrorCode.BusDown, reason: 'unplugged' });
  telemetry.report({ event: 'camera-fault', source: 'recording of front', reason: 'disk full' });
  telemetry.report({ event: 'remote-api-fault', reason: 'address already in use' });
  telemetry.report({ event: 'state-damaged', code: ErrorCode.StateDamaged, reason: 'it was damaged' });
  expect(errors()).toEqual([
    ['workload app', ErrorCode.CanInterfaceUnavailable, 'no vxcan'],
    ['engine', ErrorCode.EngineUnavailable, 'it ended'],
    ['bus can0', ErrorCode.BusDown, 'unplugged'],
    ['recording of front', ErrorCode.CameraUnavailable, 'disk full'],
    ['API', ErrorCode.ApiUnavailable, 'address already in use'],
    ['state', ErrorCode.StateDamaged, 'it was damaged'],
  ]);
  expect(events()).toEqual([]);
  expect(logged()).toMatchObject([
    { level: 'error', part: 'api', code: ErrorCode.ApiUnavailable, err: 'address already in use' },
    { level: 'error', part: 'state', code: ErrorCode.StateDamaged, reason: 'it was damaged' },
  ]);
});

it('states of buses and applied manifests are events', () => {
  telemetry.report({ event: 'bus-state', bus: 'can0', state: { state: 'Down', reason: 'unplugged' } });
  telemetry.report({ event: 'manifest-applied', generation: 2, file: 'car.yaml' });
  expect(events()).toEqual([
    ['bus', 'can0', 'Down', 'unplugged'],
    ['manifest', 'obu-1', 'Applied', 'generation 2, car.yaml'],
  ]);
  expect([errors(), logged()]).toEqual([[], []]);
});

describe('the identity', () => {
  const expiresAtMs = Date.UTC(2030, 0, 1);
  const until = 'valid until 2030-01-01T00:00:00.000Z';

  it('is an event and a line when it is good or renewed', () => {
    const state = { word: 'Valid', reason: '', folderFault: '', expiresAtMs } as const;
    telemetry.report({ event: 'identity-state', path: '/identity', state });
    telemetry.report({ event: 'identity-renewed', expiresAt: expiresAtMs });
    expect(events()).toEqual([
      ['identity', 'car-1', 'Valid', until],
      ['identity', 'car-1', 'Renewed', until],
    ]);
    expect(errors()).toEqual([]);
    expect(logged()).toMatchObject([{ level: 'info', part: 'identity', path: '/identity' }]);
  });

  it('that needs attention is an error and a warning, and so is a folder that is not used', () => {
    const state = { word: 'Expired', reason: 'it has expired', folderFault: 'no key', expiresAtMs } as const;
    telemetry.report({ event: 'identity-state', path: '/identity', state });
    const fault = 'what is in the identity folder now is not used, and that of before goes on: no key';
    expect(events()).toEqual([
      ['identity', 'car-1', 'Expired', 'it has expired'],
      ['identity', 'car-1', 'NotRenewed', fault],
    ]);
    expect(errors()).toEqual([
      ['identity', ErrorCode.IdentityExpired, 'it has expired'],
      ['identity', ErrorCode.BadIdentity, fault],
    ]);
    expect(logged()).toMatchObject([
      { level: 'warn', path: '/identity', state: 'Expired', code: ErrorCode.IdentityExpired, reason: 'it has expired' },
      { level: 'warn', path: '/identity', reason: 'no key' },
    ]);
  });
});
