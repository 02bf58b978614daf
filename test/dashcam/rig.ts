import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Camera, Picture, PictureRequest } from '../../obu/dashcam/capture/camera.ts';
import { type CameraOptions, createCamera } from '../../obu/dashcam/capture/ffmpeg-camera.ts';
import { silentLog } from '../../shared/base/log.ts';
import { PictureServer } from '../../sim/dashcam/picture-server.ts';
import { until } from '../support/until.ts';

/** What the camera tests put up, and take down again in the order that leaves nothing behind. */
export class Rig {
  readonly folder: string = mkdtempSync(join(tmpdir(), 'kerb-camera-'));
  readonly socketPath: string = join(this.folder, 'cam.sock');
  readonly #cleanups: (() => Promise<void> | void)[] = [];

  onDown(cleanup: () => Promise<void> | void): void {
    this.#cleanups.push(cleanup);
  }

  async down(): Promise<void> {
    for (const cleanup of this.#cleanups.splice(0).reverse()) await cleanup();
    rmSync(this.folder, { recursive: true });
  }

  /** A camera that fails, stalls and lingers sooner than in a car. */
  camera(source: string, options: Partial<CameraOptions> = {}): Camera {
    const timing = { firstPictureMs: 8000, stallMs: 1500, lingerMs: 300, ...options.timing };
    const camera = createCamera({ name: 'front', source, log: silentLog(), ...options, timing });
    this.onDown(() => camera.stop());
    return camera;
  }

  /** Serves what `draw` gives for 0, 1, 2 … at about this rate, as I420 planes. */
  async serve(
    width: number,
    height: number,
    fps: number,
    draw: (number: number) => Buffer | undefined,
  ): Promise<PictureServer> {
    const format = { width, height, fps };
    const server = new PictureServer({ socketPath: this.socketPath, format, log: silentLog() });
    await server.start();
    let number = 0;
    const timer = setInterval(() => {
      const planes = draw(number++);
      if (planes !== undefined) server.send(planes);
    }, 1000 / fps);
    this.onDown(() => {
      clearInterval(timer);
      return server.stop();
    });
    return server;
  }
}

/** All pictures of one subscription, as they come. */
export class Pictures {
  readonly all: Picture[] = [];
  readonly unsubscribe: () => void;

  constructor(camera: Camera, request: PictureRequest) {
    this.unsubscribe = camera.subscribe(request, (picture) => this.all.push(picture));
  }

  /** Waits until there are `count` more than now. */
  async more(count: number): Promise<Picture[]> {
    const from = this.all.length;
    await until(`${count} more pictures`, () => this.all.length >= from + count);
    return this.all.slice(from);
  }
}

export interface FfmpegChild {
  readonly pid: number;
  readonly role: 'reader' | 'converter';
}

/** The ffmpeg processes that this process has started and that have not ended. */
export function ffmpegChildren(): FfmpegChild[] {
  const found: FfmpegChild[] = [];
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      const stat = readFileSync(`/proc/${entry}/stat`, 'latin1');
      const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      if (Number(parent) !== process.pid || state === 'Z') continue;
      const words = readFileSync(`/proc/${entry}/cmdline`, 'latin1').split('\0');
      if (!words[0]?.endsWith('ffmpeg')) continue;
      found.push({ pid: Number(entry), role: words.includes('pipe:0') ? 'converter' : 'reader' });
    } catch {
      // It ended while we looked.
    }
  }
  return found;
}

export function pidsOf(role: FfmpegChild['role']): number[] {
  return ffmpegChildren()
    .filter((child) => child.role === role)
    .map((child) => child.pid);
}

/** Runs ffmpeg to make or to check something. */
export function ffmpeg(args: readonly string[], input?: Uint8Array): Buffer {
  return execFileSync('ffmpeg', ['-hide_banner', '-loglevel', 'error', ...args], { input, maxBuffer: 64 << 20 });
}

/** Correlation of two grey pictures, -1..1. */
export function correlation(a: Uint8Array, b: Uint8Array): number {
  const mean = (x: Uint8Array) => x.reduce((sum, value) => sum + value, 0) / x.length;
  const [meanA, meanB] = [mean(a), mean(b)];
  let [ab, aa, bb] = [0, 0, 0];
  for (let n = 0; n < a.length; n++) {
    const [da, db] = [a[n]! - meanA, b[n]! - meanB];
    ab += da * db;
    aa += da * da;
    bb += db * db;
  }
  return ab / Math.sqrt(aa * bb);
}

/** I420 planes of one colour. */
export function flat(width: number, height: number, y: number, cb = 128, cr = 128): Buffer {
  const chroma = Math.ceil(width / 2) * Math.ceil(height / 2);
  return Buffer.concat([Buffer.alloc(width * height, y), Buffer.alloc(chroma, cb), Buffer.alloc(chroma, cr)]);
}
