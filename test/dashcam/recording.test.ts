import { copyFileSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createCamera } from '../../obu/dashcam/capture/ffmpeg-camera.ts';
import { takeSnapshot } from '../../obu/dashcam/capture/snapshot.ts';
import { parseY4mHeader } from '../../obu/dashcam/capture/y4m.ts';
import { Encoder } from '../../obu/dashcam/recording/encoder.ts';
import { Recorder, type RecordingOptions } from '../../obu/dashcam/recording/recorder.ts';
import { silentLog } from '../../shared/base/log.ts';
import { longIt, rows } from '../support/rounds.ts';
import { until } from '../support/until.ts';
import { ffmpeg, ffmpegChildren, flat, Rig } from './rig.ts';

let rig: Rig;
beforeEach(() => {
  rig = new Rig();
});
afterEach(async () => {
  await rig.down();
  expect(ffmpegChildren()).toEqual([]);
});

const draw = (number: number) => flat(64, 48, (number * 8) % 256);

async function recorderOf(options: Partial<RecordingOptions & { ffmpegPath: string }> = {}): Promise<Recorder> {
  const timing = { firstPictureMs: 8000, stallMs: 1500, lingerMs: 300 };
  const camera = createCamera({ name: 'front', source: `sim:${rig.socketPath}`, log: silentLog(), timing });
  rig.onDown(() => camera.stop());
  await camera.start();
  const retention = { maxBytes: 1e9, maxAgeMs: 1e9, maxLockedBytes: 1e9 };
  const folder = join(rig.folder, 'recordings');
  const recorder = new Recorder(camera, { folder, codec: 'h264', fps: 20, retention, log: silentLog(), ...options });
  rig.onDown(() => recorder.stop());
  recorder.start();
  return recorder;
}

const filesOf = (folder: string) =>
  readdirSync(folder)
    .filter((name) => name.endsWith('.mp4'))
    .sort()
    .map((name) => join(folder, name));

/** Pictures that a player finds in a file: lines of ffmpeg's own checksums, one each. */
const picturesIn = (file: string, ...output: string[]) =>
  ffmpeg(['-loglevel', 'quiet', '-i', file, ...output, '-f', 'framecrc', '-'])
    .toString()
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#')).length;

/** The second one is a codec that ffmpeg has everywhere. */
const codecs = rows(1, ['h264', 'mjpeg'] as const);

describe.each(codecs)('a recording in %s', (codec) => {
  it('grows second by second, and each second plays', async () => {
    await rig.serve(64, 48, 10, draw);
    const recorder = await recorderOf({ codec });
    await until('a second on the disk', () => recorder.status.bytes > 0);
    // A camera that says nothing for two seconds, as on a machine that is busy, begins another file.
    let file = '';
    const sizes = new Set<number>();
    await until('three fragments more in one file', () => {
      const newest = filesOf(recorder.status.folder).at(-1)!;
      if (newest !== file) sizes.clear();
      file = newest;
      return sizes.add(statSync(file).size).size >= 4;
    });
    // What a power cut would leave: everything up to now, and the beginning of what comes next.
    const cut = join(rig.folder, 'cut.mp4');
    copyFileSync(file, cut);
    const before = picturesIn(cut);
    expect(before).toBeGreaterThan(15);
    truncateSync(cut, statSync(cut).size - 10);
    expect(picturesIn(cut)).toBeGreaterThan(before - 15);
    await recorder.stop();
    expect(picturesIn(file)).toBeGreaterThanOrEqual(before);
    expect(recorder.status).toMatchObject({ state: 'Recording', reason: '', lostSeconds: 0 });
  });
});

it.each(codecs)('pictures of one moment are all recorded in %s', async (codec) => {
  const parts: Buffer[] = [];
  const video = { head: (bytes: Buffer) => parts.push(bytes), fragment: (bytes: Buffer) => parts.push(bytes) };
  const encoder = new Encoder({ ffmpegPath: 'ffmpeg', codec, log: silentLog() }, video);
  const header = parseY4mHeader('YUV4MPEG2 W64 H48 F10:1 Ip A1:1 C420jpeg');
  const planes = Buffer.alloc((64 * 48 * 3) / 2, 128);
  for (let round = 0; round < 10; round++) {
    for (let n = 0; n < 3; n++) encoder.push({ planes, header, timeUs: 0, monotonicMs: performance.now() });
    await sleep(100);
  }
  await encoder.stop();
  expect(encoder.failure).toBe(undefined);
  expect(encoder.lost).toBeLessThan(20); // while ffmpeg starts
  const file = join(rig.folder, 'one-moment.mp4');
  writeFileSync(file, Buffer.concat(parts));
  // Copied: a decoder leaves out what its rate has no room for.
  expect(picturesIn(file, '-c', 'copy')).toBe(30 - encoder.lost);
});

describe('a snapshot', () => {
  it('is the next picture of a camera that nobody else looks at, which is closed again', async () => {
    await rig.serve(64, 48, 10, draw);
    const camera = rig.camera(`sim:${rig.socketPath}`);
    await camera.start();
    const picture = await takeSnapshot(camera);
    expect(picture).toMatchObject({ format: 'jpeg', width: 64, height: 48 });
    expect(Buffer.from(picture.data).readUInt16BE(0)).toBe(0xffd8);
    await until('the camera to be closed', () => camera.status().state.state === 'Idle');
  });

  it('says why there is none', async () => {
    const camera = rig.camera(`sim:${rig.socketPath}`);
    await camera.start();
    await expect(takeSnapshot(camera, 2000)).rejects.toThrow(/^camera front gave no picture within 2 s: \S/);
  });
});

describe('a recorder', () => {
  longIt('goes on in another file when the camera was away and comes back with another size', async () => {
    const server = await rig.serve(64, 48, 10, draw);
    const recorder = await recorderOf();
    await until('a recording', () => recorder.status.bytes > 0);
    await server.stop();
    await rig.serve(80, 61, 10, (number) => flat(80, 61, number % 256));
    await until('another file', () => recorder.status.files === 2);
    await recorder.stop();
    const [before, after] = filesOf(recorder.status.folder);
    expect(picturesIn(before!)).toBeGreaterThan(0);
    expect(picturesIn(after!)).toBeGreaterThan(0);
  });

  it('locks what it is recording', async () => {
    await rig.serve(64, 48, 10, draw);
    const recorder = await recorderOf();
    await until('a recording', () => recorder.status.bytes > 0);
    recorder.lock(Date.now() - 500, Date.now());
    await until('the lock', () => recorder.status.lockedBytes > 0);
    const { bytes } = recorder.status;
    await until('more of it', () => recorder.status.lockedBytes > bytes);
    expect(filesOf(join(recorder.status.folder, 'locked'))).toHaveLength(1);
    expect(filesOf(recorder.status.folder)).toEqual([]);
  });

  it('begins as soon as its folder can be used', async () => {
    await rig.serve(64, 48, 10, draw);
    const folder = join(rig.folder, 'card');
    writeFileSync(folder, 'no folder');
    const recorder = await recorderOf({ folder });
    await until('the state Failed', () => recorder.status.state === 'Failed');
    expect(recorder.status.reason).toMatch(/^recordings cannot be kept in .*card: (ENOTDIR|EEXIST)/);
    rmSync(folder);
    await until('a recording', () => recorder.status.state === 'Recording' && recorder.status.bytes > 0);
    expect(recorder.status.reason).toBe('');
  });

  it('says so when its ffmpeg cannot encode, and tries again', async () => {
    await rig.serve(64, 48, 10, draw);
    const recorder = await recorderOf({ ffmpegPath: '/bin/false' });
    await until('the state Failed', () => recorder.status.state === 'Failed');
    expect(recorder.status.reason).toBe('ffmpeg ended with exit code 1');
    await until('a picture that was lost', () => recorder.status.lostPictures > 0);
  });
});
