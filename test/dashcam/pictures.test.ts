import { setTimeout } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Picture, PictureRequest } from '../../obu/dashcam/capture/camera.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import { RoadPainter } from '../../sim/dashcam/painter.ts';
import { advance, type RoadView, START_VIEW } from '../../sim/dashcam/road.ts';
import { rounds, rows } from '../support/rounds.ts';
import { until } from '../support/until.ts';
import { correlation, ffmpeg, ffmpegChildren, flat, Pictures, pidsOf, Rig } from './rig.ts';

const [WIDTH, HEIGHT] = [320, 240];
const OWN: PictureRequest = { format: 'gray8', width: 0, height: 0, fps: 60 };
const SMALL: PictureRequest = { format: 'gray8', width: 160, height: 120, fps: 60 };
const JPEG: PictureRequest = { format: 'jpeg', width: WIDTH, height: HEIGHT, fps: 60 };

let rig: Rig;
beforeEach(() => {
  rig = new Rig();
});
afterEach(async () => {
  await rig.down();
  expect(ffmpegChildren()).toEqual([]);
});

/** A road that is driven on, and what was drawn of it, by the number in the first pixel. */
function drivenRoad() {
  const painter = new RoadPainter(WIDTH, HEIGHT, 1);
  const drawn: Buffer[] = [];
  let view: RoadView = START_VIEW;
  const draw = (number: number) => {
    view = advance(view, { speedMps: 20, steeringDeg: 8 }, 0.1);
    const { data, y } = painter.paint(view);
    y[0] = number % 256;
    drawn[number % 256] = y;
    return data;
  };
  return { draw, drawn };
}

const byTime = (pictures: readonly Picture[], timeUs: number) => pictures.find((one) => one.timeUs === timeUs);

function halved(y: Uint8Array): Uint8Array {
  const half = new Uint8Array((WIDTH / 2) * (HEIGHT / 2));
  for (let row = 0; row < HEIGHT / 2; row++) {
    for (let x = 0; x < WIDTH / 2; x++) {
      const at = 2 * row * WIDTH + 2 * x;
      half[(row * WIDTH) / 2 + x] = (y[at]! + y[at + 1]! + y[at + WIDTH]! + y[at + WIDTH + 1]!) / 4;
    }
  }
  return half;
}

describe('pictures of a simulated road', () => {
  it('are the very pixels that were drawn, in grey at the camera’s own size', async () => {
    const { draw, drawn } = drivenRoad();
    await rig.serve(WIDTH, HEIGHT, 10, draw);
    const camera = rig.camera(`sim:${rig.socketPath}`);
    await camera.start();
    const pictures = await new Pictures(camera, OWN).more(10);
    for (const picture of pictures) {
      expect(picture).toMatchObject({ camera: 'front', format: 'gray8', width: WIDTH, height: HEIGHT });
      expect(picture.data).toHaveLength(WIDTH * HEIGHT);
      expect(Buffer.compare(picture.data, drawn[picture.data[0]!]!)).toBe(0);
    }
    expect(pictures.map((one) => one.sequence)).toEqual(pictures.map((_, n) => pictures[0]!.sequence + n));
    const status = camera.status();
    expect(status).toMatchObject({ name: 'front', simulated: true, state: { state: 'Running' }, consumers: 1 });
    expect(status.fps).toBeGreaterThan(0);
    expect(pidsOf('converter')).toEqual([]);
  });

  it('show the same moment in every format, and carry its time', async () => {
    const { draw } = drivenRoad();
    await rig.serve(WIDTH, HEIGHT, 8, draw);
    const camera = rig.camera(`sim:${rig.socketPath}`);
    await camera.start();
    const requests = [OWN, SMALL, JPEG, { ...OWN, format: 'rgb24' }] as const;
    const [own, small, jpeg, rgb] = requests.map((request) => new Pictures(camera, request)) as [
      Pictures,
      Pictures,
      Pictures,
      Pictures,
    ];
    await Promise.all([own, small, jpeg, rgb].map((pictures) => pictures.more(6)));
    for (const picture of small.all.slice(0, 6)) {
      expect(picture).toMatchObject({ format: 'gray8', width: 160, height: 120 });
      expect(picture.data).toHaveLength(160 * 120);
      expect(correlation(picture.data, halved(byTime(own.all, picture.timeUs)!.data))).toBeGreaterThan(0.99);
    }
    for (const picture of jpeg.all.slice(0, 6)) {
      const decoded = ffmpeg(['-f', 'mjpeg', '-i', 'pipe:0', '-pix_fmt', 'gray', '-f', 'rawvideo', '-'], picture.data);
      expect(decoded).toHaveLength(WIDTH * HEIGHT);
      expect(correlation(decoded, byTime(own.all, picture.timeUs)!.data)).toBeGreaterThan(0.98);
    }
    for (const picture of rgb.all.slice(0, 6)) {
      expect(picture).toMatchObject({ format: 'rgb24', width: WIDTH, height: HEIGHT });
      expect(picture.data).toHaveLength(3 * WIDTH * HEIGHT);
      const green = picture.data.filter((_, n) => n % 3 === 1);
      expect(correlation(green, byTime(own.all, picture.timeUs)!.data)).toBeGreaterThan(0.95);
    }
  });

  it('keep number and picture together, so that no time is one picture off', async () => {
    await rig.serve(64, 48, 20, (number) => flat(64, 48, 40 + ((number * 8) % 200)));
    const camera = rig.camera(`sim:${rig.socketPath}`);
    await camera.start();
    const own = new Pictures(camera, OWN);
    const small = new Pictures(camera, { ...SMALL, width: 17, height: 33 });
    await small.more(rounds(20, 40));
    for (const picture of small.all) {
      const original = byTime(own.all, picture.timeUs);
      expect(Math.abs(picture.data[100]! - original!.data[100]!)).toBeLessThanOrEqual(1);
    }
  });

  it('have the right colours and the full range', async () => {
    // Full-range BT.601: pure red, then white.
    const colours = rows(1, [
      [76, 85, 255, [254, 0, 0]],
      [255, 128, 128, [255, 255, 255]],
      [0, 128, 128, [0, 0, 0]],
    ] as const);
    for (const [y, cb, cr, expected] of colours) {
      const own = new Rig();
      await own.serve(66, 50, 20, () => flat(66, 50, y, cb, cr));
      const camera = own.camera(`sim:${own.socketPath}`);
      await camera.start();
      const [rgb] = await new Pictures(camera, { format: 'rgb24', width: 33, height: 25, fps: 10 }).more(1);
      const [grey] = await new Pictures(camera, { format: 'gray8', width: 33, height: 25, fps: 10 }).more(1);
      for (const [channel, value] of expected.entries()) {
        expect(Math.abs(rgb!.data[3 * 400 + channel]! - value)).toBeLessThanOrEqual(3);
      }
      expect(Math.abs(grey!.data[400]! - y)).toBeLessThanOrEqual(1);
      await own.down();
    }
  });

  it('come in odd sizes too', async () => {
    await rig.serve(101, 77, 20, (number) => flat(101, 77, number % 200));
    const camera = rig.camera(`sim:${rig.socketPath}`);
    await camera.start();
    const [own] = await new Pictures(camera, OWN).more(1);
    expect(own).toMatchObject({ width: 101, height: 77 });
    expect(own!.data).toHaveLength(101 * 77);
    const [jpeg] = await new Pictures(camera, { ...JPEG, width: 0, height: 0 }).more(1);
    expect(jpeg).toMatchObject({ format: 'jpeg', width: 101, height: 77 });
    const decoded = ffmpeg(['-f', 'mjpeg', '-i', 'pipe:0', '-pix_fmt', 'gray', '-f', 'rawvideo', '-'], jpeg!.data);
    expect(decoded).toHaveLength(101 * 77);
    const [large] = await new Pictures(camera, { ...SMALL, width: 333, height: 1001 }).more(1);
    expect(large!.data).toHaveLength(333 * 1001);
  });
});

describe('consumers', () => {
  it('with equal requests share one conversion, with others have their own', async () => {
    await rig.serve(64, 48, 20, (number) => flat(64, 48, number % 256));
    const camera = rig.camera(`sim:${rig.socketPath}`);
    await camera.start();
    const first = new Pictures(camera, SMALL);
    const second = new Pictures(camera, { ...SMALL });
    await Promise.all([first.more(3), second.more(3)]);
    expect(pidsOf('reader')).toHaveLength(1);
    expect(pidsOf('converter')).toHaveLength(1);
    expect(second.all.at(-1)).toBe(first.all.find((one) => one.sequence === second.all.at(-1)!.sequence));
    const third = new Pictures(camera, JPEG);
    await third.more(1);
    expect(pidsOf('reader')).toHaveLength(1);
    expect(pidsOf('converter')).toHaveLength(2);
    expect(camera.status().consumers).toBe(3);

    const reader = pidsOf('reader');
    third.unsubscribe();
    third.unsubscribe();
    first.unsubscribe();
    await until('the end of one converter', () => pidsOf('converter').length === 1);
    await second.more(3);
    expect(pidsOf('reader')).toEqual(reader);
    second.unsubscribe();
    await until('the end of the reader', () => ffmpegChildren().length === 0);
    expect(camera.status()).toMatchObject({ state: { state: 'Idle' }, consumers: 0 });
    await new Pictures(camera, OWN).more(1);
  });

  it('that come back at once find the camera still open', async () => {
    await rig.serve(64, 48, 20, (number) => flat(64, 48, number % 256));
    const camera = rig.camera(`sim:${rig.socketPath}`, { timing: { lingerMs: 5000 } });
    await camera.start();
    const first = new Pictures(camera, OWN);
    await first.more(1);
    const reader = pidsOf('reader');
    first.unsubscribe();
    await new Pictures(camera, OWN).more(1);
    expect(pidsOf('reader')).toEqual(reader);
  });

  it('get at most the pictures per second that they ask for, none of them twice', async () => {
    await rig.serve(64, 48, 30, (number) => flat(64, 48, number % 256));
    const camera = rig.camera(`sim:${rig.socketPath}`);
    await camera.start();
    const all = new Pictures(camera, OWN);
    const some = new Pictures(camera, { ...OWN, fps: 7 });
    const few = new Pictures(camera, { ...SMALL, fps: 3.5 });
    await few.more(rounds(6, 12));
    for (const [pictures, fps] of [
      [some.all, 7],
      [few.all, 3.5],
    ] as const) {
      const seconds = (pictures.at(-1)!.timeUs - pictures[0]!.timeUs) / 1e6;
      expect(pictures.length).toBeLessThanOrEqual(seconds * fps + 2.1);
      expect(new Set(pictures.map((one) => one.timeUs)).size).toBe(pictures.length);
      expect(pictures.slice(1).every((one, n) => one.sequence > pictures[n]!.sequence)).toBe(true);
    }
    // A number is missing only where a picture was lost to a converter that is too slow, which the camera counts.
    const missing = [all, some, few].map(({ all: pictures }) => pictures.at(-1)!.sequence + 1 - pictures.length);
    expect(missing[0]! + missing[1]! + missing[2]!).toBeLessThanOrEqual(camera.status().lost);
    // No request holds the others back. How many there are more is up to the machine.
    expect(all.all.length).toBeGreaterThanOrEqual(some.all.length);
  });

  it('that fail take nothing from the others', async () => {
    await rig.serve(64, 48, 20, (number) => flat(64, 48, number % 256));
    const camera = rig.camera(`sim:${rig.socketPath}`);
    await camera.start();
    camera.subscribe(OWN, () => {
      throw new Error('consumer is broken');
    });
    await new Pictures(camera, OWN).more(5);
  });

  it('that ask for nonsense are refused, and nothing is started for them', async () => {
    const camera = rig.camera(`sim:${rig.socketPath}`);
    await camera.start();
    const bad = expect.objectContaining({ code: ErrorCode.BadCameraWish });
    expect(() => camera.subscribe({ ...OWN, fps: 0 }, () => {})).toThrow(bad);
    expect(() => camera.subscribe({ ...OWN, width: 8, height: 8 }, () => {})).toThrow(bad);
    await setTimeout(100);
    expect(ffmpegChildren()).toEqual([]);
    expect(camera.status()).toMatchObject({ state: { state: 'Idle' }, consumers: 0, fps: 0 });
  });
});
