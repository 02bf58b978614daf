import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import pino from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Camera, PictureRequest } from '../../obu/dashcam/capture/camera.ts';
import { rows } from '../support/rounds.ts';
import { until } from '../support/until.ts';
import { ffmpeg, ffmpegChildren, Pictures, Rig } from './rig.ts';
import { startRtspServer } from './rtsp-server.ts';

const OWN: PictureRequest = { format: 'gray8', width: 0, height: 0, fps: 60 };
const JPEG: PictureRequest = { format: 'jpeg', width: 160, height: 120, fps: 60 };

let rig: Rig;
beforeEach(() => {
  rig = new Rig();
});
afterEach(async () => {
  await rig.down();
  expect(ffmpegChildren()).toEqual([]);
});

async function reasonOf(camera: Camera): Promise<string> {
  let reason = '';
  await until('the state Failed', () => {
    const { state } = camera.status();
    if (state.state === 'Failed') reason = state.reason;
    return reason !== '';
  });
  return reason;
}

describe('a file', () => {
  const types = rows<[string, string[]]>(1, [
    ['mp4', ['-c:v', 'libx264', '-pix_fmt', 'yuv420p']],
    ['y4m', ['-pix_fmt', 'yuv444p']],
    ['mkv', ['-c:v', 'libx264', '-pix_fmt', 'yuv422p']],
    ['avi', ['-c:v', 'mjpeg', '-pix_fmt', 'yuvj422p']],
  ]);
  it.each(types)('of type %s plays at its own speed, over and over', async (type, codec) => {
    const clip = join(rig.folder, `-a clip %d.${type}`);
    const ten = ['-f', 'lavfi', '-i', 'testsrc=size=160x120:rate=20', '-frames:v', '10'];
    ffmpeg([...ten, ...codec, `file:${clip}`]);
    const camera = rig.camera(`file:${clip}`);
    await camera.start();
    const own = new Pictures(camera, OWN);
    const jpeg = new Pictures(camera, JPEG);
    await Promise.all([own.more(25), jpeg.more(5)]);
    expect(own.all[0]).toMatchObject({ width: 160, height: 120 });
    expect(camera.status()).toMatchObject({ simulated: false, source: `file:${clip}`, state: { state: 'Running' } });
    // 25 pictures of a clip of half a second at its own speed cannot all have come within a quarter of a second.
    expect(own.all[24]!.timeUs - own.all[0]!.timeUs).toBeGreaterThan(250_000);
  });

  it('whose colours have the narrow range of television is stretched to the full one', async () => {
    for (const [colour, value] of rows(1, [
      ['white', 255],
      ['black', 0],
    ] as const)) {
      const clip = join(rig.folder, `${colour}.mp4`);
      ffmpeg(['-f', 'lavfi', '-i', `color=${colour}:size=64x48:rate=20`, '-t', '1', '-pix_fmt', 'yuv420p', clip]);
      const camera = rig.camera(`file:${clip}`);
      await camera.start();
      const [own] = await new Pictures(camera, OWN).more(1);
      const [small] = await new Pictures(camera, { ...OWN, width: 32, height: 24 }).more(1);
      for (const picture of [own!, small!]) expect(Math.abs(picture.data[300]! - value)).toBeLessThanOrEqual(2);
    }
  });

  it('that is a playlist is not played: it could name any other file', async () => {
    ffmpeg([
      '-f',
      'lavfi',
      '-i',
      'testsrc=size=64x48:rate=10',
      '-frames:v',
      '5',
      '-f',
      'mpegts',
      join(rig.folder, 'a.ts'),
    ]);
    const playlists = {
      'concat.mp4': "ffconcat version 1.0\nfile 'a.ts'\n",
      'hls.mp4': '#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXTINF:0.5,\na.ts\n#EXT-X-ENDLIST\n',
      'sdp.mp4': 'v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 26\n',
    };
    for (const [name, text] of rows(1, Object.entries(playlists))) {
      writeFileSync(join(rig.folder, name), text);
      const camera = rig.camera(`file:${join(rig.folder, name)}`);
      await camera.start();
      const pictures = new Pictures(camera, OWN);
      // That it fails, and shows nothing; the words are those of one version of ffmpeg.
      await reasonOf(camera);
      expect(pictures.all).toEqual([]);
      await camera.stop();
    }
    // The same playlist does play where nothing forbids it, so the above is the white list's doing.
    ffmpeg(['-i', `file:${join(rig.folder, 'concat.mp4')}`, '-f', 'null', '-']);
  });
});

describe('a network camera', () => {
  const PASSWORD = 'hun%40ter2';

  async function networkCamera() {
    const server = await startRtspServer('admin', 'hun@ter2');
    const picture = ['-re', '-f', 'lavfi', '-i', 'testsrc=size=160x120:rate=15'];
    const codec = [
      '-c:v',
      'libx264',
      '-preset',
      'ultrafast',
      '-tune',
      'zerolatency',
      '-g',
      '15',
      '-pix_fmt',
      'yuv420p',
    ];
    const target = ['-f', 'rtp', `rtp://127.0.0.1:${server.rtpPort}?pkt_size=1200`];
    const sender = spawn('ffmpeg', ['-hide_banner', '-loglevel', 'error', ...picture, ...codec, ...target], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    const ended = new Promise((resolve) => sender.once('close', resolve));
    rig.onDown(async () => {
      sender.kill('SIGKILL');
      await ended;
      await server.stop();
    });
    return server;
  }

  /** A camera, and every line that it logs. */
  function loggedCamera(source: string): { camera: Camera; logged: string[] } {
    const logged: string[] = [];
    const log = pino({ level: 'trace' }, { write: (line: string) => logged.push(line) });
    return { camera: rig.camera(source, { log }), logged };
  }

  it('delivers, with user and password', async () => {
    const { port } = await networkCamera();
    const { camera, logged } = loggedCamera(`rtsp://admin:${PASSWORD}@127.0.0.1:${port}/live?channel=1`);
    await camera.start();
    const own = new Pictures(camera, OWN);
    const jpeg = new Pictures(camera, JPEG);
    await Promise.all([own.more(10), jpeg.more(5)]);
    expect(own.all[0]).toMatchObject({ width: 160, height: 120 });
    expect(camera.status()).toMatchObject({ source: `rtsp://***@127.0.0.1:${port}/live?***`, simulated: false });
    await camera.stop();
    expect(`${logged.join('')}${JSON.stringify(camera.status())}`).not.toMatch(/hun|ter2|admin/);
    expect(logged.map((line) => JSON.parse(line) as object)).toContainEqual(
      expect.objectContaining({ state: 'Running', msg: 'camera state changed' }),
    );
  });

  it('that refuses says so, and the credentials appear nowhere', async () => {
    const { port } = await networkCamera();
    const { camera, logged } = loggedCamera(`rtsp://admin:wr%40ng@127.0.0.1:${port}/live`);
    await camera.start();
    const pictures = new Pictures(camera, OWN);
    expect(await reasonOf(camera)).toMatch(/401 Unauthorized/);
    expect(pictures.all).toEqual([]);
    await camera.stop();
    expect(logged.join('')).toMatch(/401 Unauthorized/);
    expect(`${logged.join('')}${JSON.stringify(camera.status())}`).not.toMatch(/wr%40ng|wr@ng|admin/);
  });

  it('that is not there says so', async () => {
    const server = await startRtspServer('a', 'b');
    await server.stop();
    const { camera, logged } = loggedCamera(`rtsp://admin:${PASSWORD}@127.0.0.1:${server.port}/live`);
    await camera.start();
    const pictures = new Pictures(camera, OWN);
    const reason = await reasonOf(camera);
    expect(reason).toContain('Connection refused');
    expect(`${reason}${logged.join('')}`).not.toMatch(/hun|ter2|admin/);
    expect(pictures.all).toEqual([]);
  });
});
