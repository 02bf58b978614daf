import { expect, it } from 'vitest';
import type { RecordingStatus } from '../../shared/api/status.ts';
import type { ReportedEvent } from '../telemetry/report.ts';
import type { Camera } from './capture/camera.ts';
import { CameraFaultWatch } from './fault-watch.ts';

it('reports a camera or a recording that fails once for each reason, and again when it failed in between', () => {
  let state: object = { state: 'Running' };
  let reason = '';
  const reported: ReportedEvent[] = [];
  const camera = { name: 'front', status: () => ({ state }) } as unknown as Camera;
  const recording = () => ({ reason }) as RecordingStatus;
  const watch = new CameraFaultWatch([{ camera, recording }], (event) => reported.push(event));
  const seen = () => {
    watch.look();
    return reported.splice(0).map((one) => one.event === 'camera-fault' && `${one.source}: ${one.reason}`);
  };
  expect(seen()).toEqual([]);
  state = { state: 'Failed', reason: 'no device' };
  reason = 'disk full';
  expect(seen()).toEqual(['camera front: no device', 'recording of front: disk full']);
  expect(seen()).toEqual([]);
  state = { state: 'Failed', reason: 'no permission' };
  expect(seen()).toEqual(['camera front: no permission']);
  state = { state: 'Running' };
  expect(seen()).toEqual([]);
  state = { state: 'Failed', reason: 'no permission' };
  expect(seen()).toEqual(['camera front: no permission']);
});
