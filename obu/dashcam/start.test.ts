import { expect, it } from 'vitest';
import { silentLog } from '../../shared/base/log.ts';
import { parseObuConfig } from '../config/config.ts';
import { createManagedCamera } from './start.ts';

it('says what the recording does to whoever took the function off the camera, as the status page does', () => {
  const { cameras } = parseObuConfig(
    '{ vehicle: car, obu: obu-1, cameras: { front: { source: "sim:/tmp/none.sock", recording: {} } } }',
    'obu.yaml',
  );
  const signals = { paths: () => [] } as never;
  const parts = { recordings: '/tmp/recordings', signals, log: silentLog() };
  const { recording } = createManagedCamera(cameras[0]!, parts);
  expect(recording()).toMatchObject({ folder: '/tmp/recordings/front', events: 0, files: 0 });
});
