import { setTimeout } from 'node:timers/promises';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { PictureRequest } from '../../obu/dashcam/capture/camera.ts';
import { takeSnapshot } from '../../obu/dashcam/capture/snapshot.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import { until } from '../support/until.ts';
import { ffmpegChildren, Pictures, Rig } from './rig.ts';
import { startRtspServer } from './rtsp-server.ts';

const OWN: PictureRequest = { format: 'gray8', width: 0, height: 0, fps: 60 };

let rig: Rig;
beforeEach(() => {
  rig = new Rig();
});
afterEach(async () => {
  await rig.down();
  expect(ffmpegChildren()).toEqual([]);
});

async function lockingCamera(refusalMs: number) {
  const server = await startRtspServer('admin', 'right');
  rig.onDown(() => server.stop());
  const timing = { firstPictureMs: 8000, stallMs: 1500, lingerMs: 0, refusalMs };
  const camera = rig.camera(`rtsp://admin:wrong@127.0.0.1:${server.port}/live`, { timing });
  await camera.start();
  return { server, camera };
}

it('a camera that refuses a password is asked at growing intervals, also when consumers come and go', async () => {
  const { server, camera } = await lockingCamera(600);
  const { refusals } = server;
  const first = new Pictures(camera, OWN);
  await until('it refused', () => camera.status().state.state === 'Failed');
  // What is asked in one go (ffmpeg sends the password once) counts as one.
  const tries = () => refusals.filter((ms, i) => i === 0 || ms - refusals[i - 1]! > 300);
  expect(tries()).toHaveLength(1);
  first.unsubscribe();
  await setTimeout(50);
  for (let i = 0; i < 5; i++) {
    const other = new Pictures(camera, OWN);
    await setTimeout(20);
    expect(camera.status().state).toMatchObject({ state: 'Failed', reason: expect.stringMatching(/401/) });
    other.unsubscribe();
    await setTimeout(20);
  }
  new Pictures(camera, OWN);
  await until('it was asked three times', () => tries().length >= 3);
  const [one, two, three] = tries() as [number, number, number];
  expect(two - one).toBeGreaterThan(600);
  expect(three - two).toBeGreaterThan(1200);
});

it('a snapshot says at once that the camera refuses, and when it is asked again', async () => {
  const { server, camera } = await lockingCamera(60_000);
  const failed = await takeSnapshot(camera, 20_000).catch((error: unknown) => error);
  expect(failed).toMatchObject({ code: ErrorCode.CameraUnavailable, message: expect.stringMatching(/401.*\b\d+ s$/) });
  expect(String(failed)).not.toContain('wrong');
  const asked = server.refusals.length;
  // The second one does not make the camera count another wrong password.
  await expect(takeSnapshot(camera, 20_000)).rejects.toMatchObject({ code: ErrorCode.CameraUnavailable });
  expect(server.refusals.length).toBe(asked);
});
