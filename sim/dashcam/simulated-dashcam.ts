import type { Logger } from '../../shared/base/log.ts';
import { RoadPainter } from './painter.ts';
import { type PictureFormat, PictureServer } from './picture-server.ts';
import { advance, type Motion, type RoadView, START_VIEW } from './road.ts';

/** Where the simulated road learns how the car moves. */
export interface MotionSource {
  start(): Promise<void>;
  stop(): Promise<void>;
  current(): Motion;
}

export interface SimulatedDashcamOptions {
  readonly socketPath: string;
  readonly format: PictureFormat;
  readonly seed: number;
  readonly motion: MotionSource;
  readonly log: Logger;
}

/** A dashcam in a car that is not there: draws the road as the car moves, and serves the pictures on a Unix socket. */
export class SimulatedDashcam {
  readonly #format: PictureFormat;
  readonly #seed: number;
  readonly #motion: MotionSource;
  readonly #server: PictureServer;
  #view: RoadView = START_VIEW;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(options: SimulatedDashcamOptions) {
    this.#format = options.format;
    this.#seed = options.seed;
    this.#motion = options.motion;
    this.#server = new PictureServer(options);
  }

  /** @throws KerbError SimulatorFailed for the socket, and what the motion source throws */
  async start(): Promise<void> {
    this.#stopped = false;
    try {
      await this.#motion.start();
      if (!this.#stopped) await this.#server.start();
    } catch (error) {
      await this.stop();
      throw error;
    }
    if (!this.#stopped) this.#run();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#server.stop();
    await this.#motion.stop();
  }

  #run(): void {
    const painter = new RoadPainter(this.#format.width, this.#format.height, this.#seed);
    const intervalMs = 1000 / this.#format.fps;
    let lastMs = performance.now();
    let dueMs = lastMs;
    const next = () => {
      const nowMs = performance.now();
      this.#view = advance(this.#view, this.#motion.current(), (nowMs - lastMs) / 1000);
      lastMs = nowMs;
      // Nobody looks, nothing is drawn; the car drives on all the same.
      if (this.#server.readers > 0) this.#server.send(painter.paint(this.#view).data);
      // On time on average; what was missed while the machine was busy is not made up for.
      const doneMs = performance.now();
      dueMs = Math.max(dueMs + intervalMs, doneMs);
      this.#timer = setTimeout(next, dueMs - doneMs);
    };
    next();
  }
}
