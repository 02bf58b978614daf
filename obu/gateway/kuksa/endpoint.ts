/**
 * Where the programs of one container find `kuksa.val.v2`: a Unix socket and a token, beside the gateway socket. What
 * speaks gRPC is loaded when the first of them connects, so that it costs nothing where nobody uses it.
 */
import { randomBytes } from 'node:crypto';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { ErrorCode, isErrno, KerbError, messageOf } from '../../../shared/base/errors.ts';
import type { KuksaServerParts } from './calls.ts';
import type { KuksaServer } from './server.ts';

export const KUKSA_SOCKET = 'kuksa.sock';
export const TOKEN_FILE = 'token';

/** Connections that one container may have open. */
const MAX_CONNECTIONS = 8;
/** Bytes. */
const TOKEN_LENGTH = 32;

export interface KuksaEndpointParts extends Omit<KuksaServerParts, 'token'> {
  readonly workload: string;
  /** Folder that is mounted into the container. */
  readonly folder: string;
  /** Go on with the token that lies there: the container has run since before this OBU was started. */
  readonly keepToken: boolean;
  readonly onCrowded: (limit: number) => void;
}

export class KuksaEndpoint {
  readonly #parts: KuksaEndpointParts;
  readonly #sockets = new Set<Socket>();
  #listener: Server | undefined;
  #server: Promise<KuksaServer> | undefined;
  #token = '';

  constructor(parts: KuksaEndpointParts) {
    this.#parts = parts;
  }

  /** @throws KerbError KuksaUnavailable */
  async start(): Promise<void> {
    const { folder, workload, onCrowded } = this.#parts;
    const path = join(folder, KUKSA_SOCKET);
    const listener = createServer((socket) => this.#connected(socket));
    this.#listener = listener;
    try {
      this.#token = await this.#mint();
      await rm(path, { force: true });
      listener.maxConnections = MAX_CONNECTIONS;
      listener.on('drop', () => onCrowded(MAX_CONNECTIONS));
      await new Promise<void>((resolve, reject) => {
        listener.once('error', reject);
        // Any user of the container may connect; the folder above keeps everybody else out.
        listener.listen({ path, readableAll: true, writableAll: true }, resolve);
      });
      listener.on('error', this.#parts.onDefect);
    } catch (error) {
      const message = `cannot serve kuksa.val for workload ${workload} at ${path}: ${messageOf(error)}`;
      throw new KerbError(ErrorCode.KuksaUnavailable, message, { workload, path });
    }
  }

  /** The grants have changed: what is open ends with UNAVAILABLE, so that programs ask again for what they may have now. */
  regrant(): void {
    this.#server?.then(
      (server) => server.endStreams(),
      () => {}, // who connected has heard of it
    );
  }

  /** Ends every connection and the token. Safe to call twice and during `start()`. */
  async stop(): Promise<void> {
    const listener = this.#listener;
    this.#listener = undefined;
    this.#token = '';
    const server = await this.#server?.catch(() => undefined);
    this.#server = undefined;
    server?.stop();
    for (const socket of this.#sockets) socket.destroy();
    if (listener?.listening) await new Promise((resolve) => listener.close(resolve));
  }

  async #mint(): Promise<string> {
    const file = join(this.#parts.folder, TOKEN_FILE);
    if (this.#parts.keepToken) {
      try {
        const token = await readFile(file, 'utf8');
        if (token.length === TOKEN_LENGTH * 2) return token;
      } catch (error) {
        if (!isErrno(error, 'ENOENT')) throw error;
      }
    }
    const token = randomBytes(TOKEN_LENGTH).toString('hex');
    await rm(file, { force: true });
    // No line end: programs take a token file as it is. The folder above keeps everybody else out.
    await writeFile(file, token, { mode: 0o444 });
    return token;
  }

  #connected(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('error', () => {}); // it is closed after it, which is all that there is to know
    this.#server ??= this.#load();
    this.#server.then(
      (server) => {
        if (this.#listener === undefined) socket.destroy();
        else server.accept(socket);
      },
      (error: unknown) => {
        this.#parts.onDefect(error);
        socket.destroy();
      },
    );
  }

  async #load(): Promise<KuksaServer> {
    const { createKuksaServer } = await import('./server.ts');
    return createKuksaServer({ ...this.#parts, token: this.#token });
  }
}

/** What the container's programs are told. @param mount where the folder of the gateway is in the container */
export function kuksaEnvironment(mount: string): readonly string[] {
  return [`KUKSA_ADDRESS=unix://${mount}/${KUKSA_SOCKET}`, `KUKSA_TOKEN_FILE=${mount}/${TOKEN_FILE}`];
}
