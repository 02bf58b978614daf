import { lstatSync, unlinkSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { ErrorCode, isErrno, KerbError } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';

export interface PictureFormat {
  readonly width: number;
  readonly height: number;
  readonly fps: number;
}

const FRAME = Buffer.from('FRAME\n');

/** First line of a YUV4MPEG2 stream of full-range 4:2:0 pictures. */
export function y4mHeader({ width, height, fps }: PictureFormat): string {
  return `YUV4MPEG2 W${width} H${height} F${Math.round(fps * 1000)}:1000 Ip A1:1 C420jpeg XCOLORRANGE=FULL\n`;
}

/**
 * Serves pictures as YUV4MPEG2 on a Unix socket to any number of readers. A reader that has not taken its last picture
 * yet does not get the next one; it holds up nobody.
 */
export class PictureServer {
  readonly #socketPath: string;
  readonly #header: string;
  readonly #log: Logger;
  readonly #readers = new Map<Socket, { lost: number }>();
  #server: Server | undefined;
  #stopped = false;

  constructor(options: { socketPath: string; format: PictureFormat; log: Logger }) {
    this.#socketPath = options.socketPath;
    this.#header = y4mHeader(options.format);
    this.#log = options.log;
  }

  get readers(): number {
    return this.#readers.size;
  }

  /**
   * Listens. A socket that a dead process left behind is replaced.
   * @throws KerbError SimulatorFailed when the path is in use, is something else, or cannot be made
   */
  async start(): Promise<void> {
    this.#stopped = false;
    await this.#clearStale();
    if (this.#stopped) return;
    const server = createServer((socket) => this.#welcome(socket));
    this.#server = server;
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) => {
        this.#server = undefined;
        reject(this.#failed(`cannot listen there (${isErrno(error) ? error.code : error.message})`));
      });
      server.once('close', resolve);
      server.listen(this.#socketPath, resolve);
    });
  }

  /** Sends everyone away and takes the socket back. */
  async stop(): Promise<void> {
    this.#stopped = true;
    const server = this.#server;
    this.#server = undefined;
    for (const socket of this.#readers.keys()) socket.destroy();
    if (server !== undefined) await new Promise<void>((resolve) => server.close(() => resolve()));
  }

  /** One picture (I420 planes) for all readers; never changed afterwards by the caller. */
  send(planes: Buffer): void {
    for (const [socket, reader] of this.#readers) {
      if (socket.writableLength > 0) {
        reader.lost += 1;
        continue;
      }
      socket.cork();
      socket.write(FRAME);
      socket.write(planes);
      socket.uncork();
    }
  }

  #welcome(socket: Socket): void {
    const reader = { lost: 0 };
    this.#readers.set(socket, reader);
    socket.on('error', () => {}); // a reader that goes away in the middle of a picture; `close` follows
    socket.on('close', () => {
      this.#readers.delete(socket);
      this.#log.debug({ lost: reader.lost, count: this.#readers.size }, 'reader gone');
    });
    socket.resume(); // nobody is expected to say anything, but only who listens hears the end
    socket.write(this.#header);
  }

  async #clearStale(): Promise<void> {
    const found = lstatSync(this.#socketPath, { throwIfNoEntry: false });
    if (found === undefined) return;
    if (!found.isSocket()) throw this.#failed('the path exists and is not a socket');
    const alive = await new Promise<boolean>((resolve) => {
      const probe = connect(this.#socketPath);
      probe.once('connect', () => {
        probe.destroy();
        resolve(true);
      });
      probe.once('error', () => resolve(false));
    });
    if (alive) throw this.#failed('another process serves there; stop it or choose another path');
    unlinkSync(this.#socketPath);
  }

  #failed(problem: string): KerbError {
    const message = `dashcam socket ${this.#socketPath}: ${problem}`;
    return new KerbError(ErrorCode.SimulatorFailed, message, { socketPath: this.#socketPath });
  }
}
