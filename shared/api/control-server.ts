import { lstat, unlink } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { connect } from 'node:net';
import { ErrorCode, isErrno, KerbError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { closeServer, listenFault } from '../host/listen.ts';
import { type ControlRoutes, HttpRouter } from './control-routes.ts';

export interface ControlServerOptions {
  /** At most 107 bytes, as Linux limits `sun_path`. Its directory has to exist. */
  readonly socketPath: string;
  readonly routes: ControlRoutes;
  readonly log: Logger;
}

export interface ControlServer {
  /**
   * Listens; the socket file can be opened by its owner only (mode 0600). A socket file that a dead process left is
   * replaced, one that somebody answers on is not.
   * @throws KerbError ApiUnavailable
   */
  start(): Promise<void>;
  /** Ends open connections and removes the socket file. */
  stop(): Promise<void>;
}

const MAX_SOCKET_PATH = 107;

/** The control API of a daemon: a few HTTP routes on a Unix socket. */
export function createControlServer(options: ControlServerOptions): ControlServer {
  return new UnixControlServer(options);
}

class UnixControlServer implements ControlServer {
  readonly #options: ControlServerOptions;
  readonly #router: HttpRouter;
  #server: Server | undefined;
  #listening: Promise<void> = Promise.resolve();

  constructor(options: ControlServerOptions) {
    this.#options = options;
    this.#router = new HttpRouter(options.routes, options.log);
  }

  async start(): Promise<void> {
    const { socketPath } = this.#options;
    if (Buffer.byteLength(socketPath) > MAX_SOCKET_PATH) {
      throw new KerbError(
        ErrorCode.ApiUnavailable,
        `the path of the control socket is longer than ${MAX_SOCKET_PATH} bytes: ${socketPath}; choose a shorter one`,
        { socketPath },
      );
    }
    await removeStaleSocket(socketPath);
    const server = createServer((request, response) => void this.#router.serve(request, response));
    this.#server = server;
    this.#listening = listenPrivately(server, socketPath);
    await this.#listening;
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    // Node removes the socket file itself when it closes the handle.
    if (server !== undefined) await closeServer(server, this.#listening);
  }
}

async function listenPrivately(server: Server, socketPath: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) =>
      reject(
        new KerbError(
          ErrorCode.ApiUnavailable,
          `cannot listen on the control socket ${socketPath}: ${listenFault(error)}`,
          { socketPath },
          { cause: error },
        ),
      ),
    );
    // Node binds within listen(), so the mask covers exactly that and the file is never open to others.
    const mask = process.umask(0o177);
    try {
      server.listen(socketPath, resolve);
    } finally {
      process.umask(mask);
    }
  });
}

async function removeStaleSocket(socketPath: string): Promise<void> {
  try {
    const found = await lstat(socketPath);
    if (!found.isSocket()) {
      throw new KerbError(
        ErrorCode.ApiUnavailable,
        `${socketPath} exists and is not a socket; remove it or choose another`,
        {
          socketPath,
        },
      );
    }
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return;
    throw error;
  }
  if (await isAnswered(socketPath)) {
    throw new KerbError(
      ErrorCode.ApiUnavailable,
      `another daemon answers on the control socket ${socketPath}; stop it or choose another socket`,
      { socketPath },
    );
  }
  await unlink(socketPath).catch((error: unknown) => {
    if (!isErrno(error, 'ENOENT')) throw error;
  });
}

/** Anything but a refusal counts as an answer, so that no living socket is ever removed. */
function isAnswered(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(socketPath);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', (error) => resolve(!isErrno(error, 'ECONNREFUSED') && !isErrno(error, 'ENOENT')));
  });
}
