import { createServer, type Server } from 'node:net';
import { ErrorCode, isErrno, KerbError } from '../../shared/base/errors.ts';

/**
 * Keeps a second OBU off a state folder. It is a Unix socket in the abstract namespace: the kernel lets go of it when
 * the process ends, however it ends, so there is never a stale one.
 */
export class StateLock {
  readonly #name: string;
  readonly #state: string;
  #server: Server | undefined;

  constructor(state: string, stateHash: string) {
    this.#state = state;
    this.#name = `\0kerbside-obu-${stateHash}`;
  }

  /** @throws KerbError ObuAlreadyRunning */
  async start(): Promise<void> {
    const server = createServer((socket) => socket.destroy());
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) => {
        const taken = `another OBU runs on the state folder ${this.#state}; stop it, or use another folder`;
        reject(isErrno(error, 'EADDRINUSE') ? new KerbError(ErrorCode.ObuAlreadyRunning, taken) : error);
      });
      server.listen(this.#name, resolve);
    });
    server.unref();
    this.#server = server;
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (server !== undefined) await new Promise((resolve) => server.close(resolve));
  }
}
