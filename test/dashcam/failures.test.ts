import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Camera, PictureRequest } from '../../obu/dashcam/capture/camera.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import { longIt, rows } from '../support/rounds.ts';
import { until } from '../support/until.ts';
import { ffmpegChildren, flat, Pictures, pidsOf, Rig } from './rig.ts';

const OWN: PictureRequest = { format: 'gray8', width: 0, height: 0, fps: 60 };
const SMALL: PictureRequest = { format: 'gray8', width: 32, height: 32, fps: 60 };

let rig: Rig;
beforeEach(() => {
  rig = new Rig();
});
afterEach(async () => {
  await rig.down();
  expect(ffmpegChildren()).toEqual([]);
});

const draw = (number: number) => flat(64, 48, number % 256);

async function reasonOf(camera: Camera): Promise<string> {
  let reason = '';
  await until('the state Failed', () => {
    const { state } = camera.status();
    if (state.state === 'Failed') reason = state.reason;
    return reason !== '';
  });
  return reason;
}

const isRunning = (camera: Camera) => camera.status().state.state === 'Running';

describe('a camera that fails', () => {
  it('comes back after its reader was killed, and its consumers stay', async () => {
    await rig.serve(64, 48, 20, draw);
    const camera = rig.camera(`sim:${rig.socketPath}`);
    await camera.start();
    const own = new Pictures(camera, OWN);
    const small = new Pictures(camera, SMALL);
    await small.more(3);
    const [reader] = pidsOf('reader');
    process.kill(reader!, 'SIGKILL');
    expect(await reasonOf(camera)).toBe('ffmpeg was ended by SIGKILL');
    await Promise.all([own.more(3), small.more(3)]);
    expect(isRunning(camera)).toBe(true);
    expect(pidsOf('reader')).not.toEqual([reader]);
    const numbers = own.all.map((one) => one.sequence);
    expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => a - b));
  });

  it('goes on for the others when one conversion is killed, and converts again', async () => {
    await rig.serve(64, 48, 20, draw);
    const camera = rig.camera(`sim:${rig.socketPath}`);
    await camera.start();
    const own = new Pictures(camera, OWN);
    const small = new Pictures(camera, SMALL);
    await small.more(3);
    const reader = pidsOf('reader');
    process.kill(pidsOf('converter')[0]!, 'SIGKILL');
    expect(await reasonOf(camera)).toMatch(/^conversion to gray8 32x32 at 60\/s: ffmpeg was ended by SIGKILL$/);
    await Promise.all([own.more(3), small.more(3)]);
    expect(pidsOf('reader')).toEqual(reader);
    expect(isRunning(camera)).toBe(true);
  });

  it('is restarted when it sends nothing more', async () => {
    let silent = false;
    await rig.serve(64, 48, 20, (number) => (silent ? undefined : draw(number)));
    const camera = rig.camera(`sim:${rig.socketPath}`);
    await camera.start();
    const own = new Pictures(camera, OWN);
    await own.more(3);
    silent = true;
    expect(await reasonOf(camera)).toBe('no picture for 1.5 s');
    silent = false;
    await own.more(3);
    expect(isRunning(camera)).toBe(true);
  });

  longIt('is restarted when ffmpeg itself hangs, reader or converter', async () => {
    await rig.serve(64, 48, 20, draw);
    const camera = rig.camera(`sim:${rig.socketPath}`);
    await camera.start();
    const own = new Pictures(camera, OWN);
    const small = new Pictures(camera, SMALL);
    await small.more(3);
    process.kill(pidsOf('converter')[0]!, 'SIGSTOP');
    expect(await reasonOf(camera)).toContain('converted nothing for 1.5 s');
    await small.more(3);
    process.kill(pidsOf('reader')[0]!, 'SIGSTOP');
    expect(await reasonOf(camera)).toBe('no picture for 1.5 s');
    await Promise.all([own.more(3), small.more(3)]);
  });

  longIt('is not given up while ffmpeg loads for longer than a stall may last', async () => {
    const started = join(rig.folder, 'started');
    const ffmpegPath = join(rig.folder, 'ffmpeg');
    const slow = `case "$*" in *pipe:0*) echo >>${started}; sleep 2.5 ;; esac`;
    writeFileSync(ffmpegPath, `#!/bin/sh\n${slow}\nexec ffmpeg "$@"\n`, { mode: 0o755 });
    await rig.serve(64, 48, 20, draw);
    const camera = rig.camera(`sim:${rig.socketPath}`, { ffmpegPath });
    await camera.start();
    await new Pictures(camera, SMALL).more(3);
    expect(isRunning(camera)).toBe(true);
    expect(readFileSync(started, 'utf8')).toBe('\n'); // one converter, started once
  });

  longIt(
    'loses pictures in a conversion that cannot keep up, the older ones, and says so by their numbers',
    async () => {
      await rig.serve(64, 48, 20, draw);
      const camera = rig.camera(`sim:${rig.socketPath}`, { timing: { stallMs: 30_000 } });
      await camera.start();
      const own = new Pictures(camera, OWN);
      const small = new Pictures(camera, SMALL);
      await small.more(3);
      const [converter] = pidsOf('converter');
      process.kill(converter!, 'SIGSTOP');
      await own.more(20);
      const before = small.all.length;
      process.kill(converter!, 'SIGCONT');
      await small.more(6);
      const numbers = small.all.slice(before - 1).map((one) => one.sequence);
      const gaps = numbers.slice(1).map((number, n) => number - numbers[n]!);
      // Two were under way, the third is the newest one: a gap of about the 20 that passed by.
      expect(Math.max(...gaps)).toBeGreaterThan(10);
      for (const picture of small.all) {
        const original = own.all.find((one) => one.timeUs === picture.timeUs);
        if (original !== undefined) expect(Math.abs(picture.data[9]! - original.data[9]!)).toBeLessThanOrEqual(1);
      }
    },
  );

  it('is found when it appears later, goes, and comes back with another size', async () => {
    const camera = rig.camera(`sim:${rig.socketPath}`);
    await camera.start();
    const own = new Pictures(camera, OWN);
    const jpeg = new Pictures(camera, { ...OWN, format: 'jpeg' });
    expect(await reasonOf(camera)).toContain('No such file or directory');
    const first = await rig.serve(64, 48, 20, draw);
    await Promise.all([own.more(2), jpeg.more(2)]);
    expect(own.all.at(-1)).toMatchObject({ width: 64, height: 48 });
    await first.stop();
    await reasonOf(camera);
    await rig.serve(80, 60, 20, () => flat(80, 60, 99));
    await Promise.all([own.more(2), jpeg.more(2)]);
    expect(own.all.at(-1)).toMatchObject({ width: 80, height: 60 });
    expect(own.all.at(-1)!.data).toHaveLength(80 * 60);
    expect(jpeg.all.at(-1)).toMatchObject({ width: 80, height: 60 });
  });

  it('says why, for a device that is not there', async () => {
    const device = '/dev/video77';
    expect(existsSync(device)).toBe(false);
    const camera = rig.camera(`v4l2:${device}?size=640x480&fps=30&format=mjpeg`);
    await camera.start();
    const own = new Pictures(camera, OWN);
    const reason = await reasonOf(camera);
    // Each version of ffmpeg puts them together in its own way.
    for (const part of [device, 'No such file or directory']) expect(reason).toContain(part);
    expect(camera.status()).toMatchObject({ source: `v4l2:${device}`, simulated: false, consumers: 1, fps: 0 });
    expect(own.all).toEqual([]);
  });

  it('says so when what is served is no video', async () => {
    writeFileSync(join(rig.folder, 'notes.mp4'), 'these are my notes\n'.repeat(100));
    const camera = rig.camera(`file:${rig.folder}/notes.mp4`);
    await camera.start();
    const own = new Pictures(camera, OWN);
    expect(await reasonOf(camera)).toMatch(/invalid data/i);
    own.unsubscribe();
    await until('the end of trying', () => camera.status().state.state === 'Idle' && ffmpegChildren().length === 0);
  });
});

describe('ffmpeg', () => {
  const unavailable = (words: RegExp) =>
    expect.objectContaining({ code: ErrorCode.CameraUnavailable, message: expect.stringMatching(words) });

  it('that is missing is named, with the command that installs it', async () => {
    const camera = rig.camera('v4l2:/dev/video0', { ffmpegPath: join(rig.folder, 'ffmpeg') });
    await expect(camera.start()).rejects.toThrow(unavailable(/is not there.*apt-get install ffmpeg/));
    await expect(camera.start()).rejects.toThrow(unavailable(/is not there/));
  });

  it('that is too old, or is something else, is refused', async () => {
    const old = join(rig.folder, 'old');
    writeFileSync(old, '#!/bin/sh\necho "ffmpeg version 4.4.2-0ubuntu1 Copyright"\n', { mode: 0o755 });
    await expect(rig.camera('file:/x.mp4', { ffmpegPath: old }).start()).rejects.toThrow(unavailable(/4\.4.*5\.1/));
    for (const other of ['/bin/true', '/bin/false', '/etc/passwd']) {
      const camera = rig.camera('file:/x.mp4', { ffmpegPath: other });
      await expect(camera.start()).rejects.toThrow(unavailable(/does not tell its version|cannot be run: EACCES/));
    }
  });

  it('is asked for its version once, however many cameras use it, and again when it is another one', async () => {
    const [own, asked] = [join(rig.folder, 'ffmpeg'), join(rig.folder, 'asked')];
    const install = (version: string) =>
      writeFileSync(own, `#!/bin/sh\necho x >> ${asked}\necho "ffmpeg version ${version} Copyright"\n`, {
        mode: 0o755,
      });
    install('7.1');
    for (let n = 0; n < 3; n++) await rig.camera('file:/x.mp4', { ffmpegPath: own }).start();
    expect(readFileSync(asked, 'utf8')).toBe('x\n');
    install('4.4');
    await expect(rig.camera('file:/x.mp4', { ffmpegPath: own }).start()).rejects.toThrow(unavailable(/4\.4.*5\.1/));
    expect(readFileSync(asked, 'utf8')).toBe('x\nx\n');
  });

  longIt('that vanishes while the camera runs leaves it Failed, not dead', async () => {
    const own = join(rig.folder, 'ffmpeg');
    writeFileSync(own, '#!/bin/sh\nexec ffmpeg "$@"\n', { mode: 0o755 });
    const camera = rig.camera(`sim:${rig.socketPath}`, { ffmpegPath: own });
    await camera.start();
    writeFileSync(own, '#!/bin/sh\nexit 7\n', { mode: 0o755 });
    const pictures = new Pictures(camera, OWN);
    expect(await reasonOf(camera)).toBe('ffmpeg ended with exit code 7');
    await rig.serve(64, 48, 20, draw);
    writeFileSync(own, '#!/bin/sh\nexec ffmpeg "$@"\n', { mode: 0o755 });
    await pictures.more(2);
  });
});

describe('stop', () => {
  it('ends every process, whenever it comes', async () => {
    await rig.serve(64, 48, 20, draw);
    for (const delayMs of rows(2, [0, 400, 20, 100, 5, 1, 50, 200, 800])) {
      // Another program each time, so that its version is looked at as at the start of an OBU.
      const ffmpegPath = join(rig.folder, `ffmpeg-${delayMs}`);
      writeFileSync(ffmpegPath, '#!/bin/sh\nexec ffmpeg "$@"\n', { mode: 0o755 });
      const camera = rig.camera(`sim:${rig.socketPath}`, { ffmpegPath });
      const started = camera.start().catch((error) => error);
      camera.subscribe(OWN, () => {});
      camera.subscribe(SMALL, () => {});
      await setTimeout(delayMs);
      await camera.stop();
      expect(ffmpegChildren(), `after ${delayMs} ms`).toEqual([]);
      const outcome = await started;
      if (outcome !== undefined) expect(outcome).toMatchObject({ code: ErrorCode.Cancelled });
      expect(camera.status()).toMatchObject({ state: { state: 'Idle' }, consumers: 0 });
    }
  });

  longIt('ends a reader that hangs', async () => {
    await rig.serve(64, 48, 20, draw);
    const camera = rig.camera(`sim:${rig.socketPath}`);
    await camera.start();
    await new Pictures(camera, OWN).more(1);
    process.kill(pidsOf('reader')[0]!, 'SIGSTOP');
    await camera.stop();
    expect(ffmpegChildren()).toEqual([]);
  });

  it('ends the pictures at once, and a new start begins anew', async () => {
    await rig.serve(64, 48, 20, draw);
    const camera = rig.camera(`sim:${rig.socketPath}`);
    await camera.start();
    const before = new Pictures(camera, OWN);
    await before.more(1);
    const stopping = camera.stop();
    const count = before.all.length;
    await stopping;
    await camera.start();
    await new Pictures(camera, OWN).more(2);
    expect(before.all).toHaveLength(count);
    before.unsubscribe();
    await camera.stop();
    await camera.stop();
  });

  longIt('gives the camera back before it is opened again', async () => {
    await rig.serve(64, 48, 20, draw);
    const camera = rig.camera(`sim:${rig.socketPath}`, { timing: { lingerMs: 0 } });
    await camera.start();
    for (let round = 0; round < 5; round++) {
      const pictures = new Pictures(camera, OWN);
      await pictures.more(1);
      pictures.unsubscribe();
      await setTimeout(round * 10);
      expect(pidsOf('reader').length).toBeLessThanOrEqual(1);
    }
  });
});
