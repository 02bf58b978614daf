/**
 * The userspace bus: one process that carries a CAN bus for programs on a host whose kernel has no SocketCAN. It is to
 * them what vcan is: whatever one sends, all others get, in one order.
 *
 * No program can hurt another one. A record that is none ends its sender's connection. A program that reads too slowly
 * loses its own oldest frames and is told how many; memory is bounded by MAX_QUEUED_BYTES for each. What is not
 * bounded is how much a program sends, as on a real bus: with a babbling one everybody loses frames, and counts them.
 *
 * Hot path: a chunk of records is checked and stamped in place, and the same buffer is handed to every other program;
 * no frame is decoded here.
 */
import { chmod, lstat, mkdir, unlink } from 'node:fs/promises';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { ErrorCode, isErrno, KerbError, messageOf } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import {
  encodeDropped,
  encodeHello,
  helloName,
  nowUs,
  RECORD_SIZE,
  RecordCutter,
  RecordType,
  recordFault,
  recordType,
  stampRecord,
} from './userspace-protocol.ts';

/** Limit of unsent bytes for one slow program: about 4,000 frames. */
const MAX_QUEUED_BYTES = 4096 * RECORD_SIZE;
const MAX_CLIENTS = 128;
/** A connection that has not said hello by then is closed. */
const HELLO_MS = 5000;
/** Longest path of a Unix socket (sun_path of unix(7)), without its final zero. */
const MAX_SOCKET_PATH = 107;

export interface UserspaceBusServerOptions {
  readonly socketPath: string;
  /** The name that the bus answers with, for logs. */
  readonly name: string;
  readonly log: Logger;
}

export interface UserspaceBusClientStats {
  readonly name: string;
  readonly framesReceived: number;
  readonly framesDropped: number;
}

class Client {
  readonly socket: Socket;
  readonly number: number;
  readonly cutter = new RecordCutter();
  name = '';
  greeted = false;
  framesReceived = 0;
  framesDropped = 0;
  #toldDropped = 0;
  #blocked = false;
  #queue: Buffer[] = [];
  #queuedBytes = 0;

  constructor(socket: Socket, number: number) {
    this.socket = socket;
    this.number = number;
  }

  get label(): string {
    return this.greeted ? `${this.name} (connection ${this.number})` : `connection ${this.number}`;
  }

  deliver(records: Buffer): void {
    if (!this.#blocked) {
      this.#blocked = !this.socket.write(records);
      return;
    }
    this.#queue.push(records);
    this.#queuedBytes += records.length;
    while (this.#queuedBytes > MAX_QUEUED_BYTES) {
      const oldest = this.#queue.shift()!;
      this.#queuedBytes -= oldest.length;
      this.framesDropped += oldest.length / RECORD_SIZE;
    }
  }

  drained(): void {
    this.#blocked = false;
    if (this.framesDropped > this.#toldDropped) {
      this.#toldDropped = this.framesDropped;
      this.socket.write(encodeDropped(this.framesDropped));
    }
    const queue = this.#queue;
    this.#queue = [];
    this.#queuedBytes = 0;
    // The queue is bounded, so all of it may go to the socket; it says "blocked" again when that is too much.
    for (const records of queue) this.#blocked = !this.socket.write(records);
  }
}

export class UserspaceBusServer {
  readonly #options: UserspaceBusServerOptions;
  readonly #clients = new Set<Client>();
  #server: Server | undefined;
  #connections = 0;

  constructor(options: UserspaceBusServerOptions) {
    this.#options = options;
  }

  /** The programs on the bus, for a person to look at. */
  get clients(): readonly UserspaceBusClientStats[] {
    return [...this.#clients].map(({ name, framesReceived, framesDropped }) => ({
      name,
      framesReceived,
      framesDropped,
    }));
  }

  /**
   * Listens. The folder of the socket is made when it is missing; a socket that a dead server left behind is replaced.
   * @throws KerbError BusUnavailable when another server is there, when something else is, or when it may not be made
   */
  async start(): Promise<void> {
    const { socketPath } = this.#options;
    if (Buffer.byteLength(socketPath) > MAX_SOCKET_PATH) {
      throw unavailable(socketPath, `the path is longer than ${MAX_SOCKET_PATH} bytes; use a shorter one`);
    }
    const server = createServer((socket) => this.#accept(socket));
    this.#server = server;
    try {
      await mkdir(dirname(socketPath), { recursive: true, mode: 0o700 });
      await this.#removeStale();
      if (this.#server !== server) return;
      await listen(server, socketPath);
      // Whoever may write to the socket is on the bus: the user and the group, as with a device file.
      await chmod(socketPath, 0o660);
    } catch (error) {
      await this.stop();
      throw error instanceof KerbError ? error : unavailable(socketPath, messageOf(error), error);
    }
  }

  /** Ends all connections and removes the socket; safe to call twice and during `start()`. */
  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    for (const client of this.#clients) client.socket.destroy();
    if (server?.listening) await new Promise<void>((resolve) => server.close(() => resolve()));
  }

  async #removeStale(): Promise<void> {
    const { socketPath, log } = this.#options;
    try {
      if (!(await lstat(socketPath)).isSocket()) {
        throw unavailable(socketPath, 'the path exists and is not a socket; choose another one or remove it');
      }
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return;
      throw error;
    }
    if (await answers(socketPath)) {
      throw unavailable(socketPath, 'another bus is served there already; stop it or choose another path');
    }
    log.info({ path: socketPath }, 'removing the socket that a bus left behind when it died');
    await unlink(socketPath);
  }

  #accept(socket: Socket): void {
    const client = new Client(socket, ++this.#connections);
    if (this.#clients.size >= MAX_CLIENTS || this.#server === undefined) {
      this.#options.log.warn({ count: this.#clients.size }, 'connection refused: too many programs on the bus');
      socket.destroy();
      return;
    }
    this.#clients.add(client);
    const greeting = setTimeout(() => this.#expel(client, 'timed out waiting for its hello'), HELLO_MS);
    socket.on('data', (chunk) => {
      this.#receive(client, chunk);
      if (client.greeted) clearTimeout(greeting);
    });
    socket.on('drain', () => client.drained());
    socket.on('error', (error) => this.#options.log.debug({ client: client.label, err: error.message }, 'lost'));
    socket.on('close', () => {
      clearTimeout(greeting);
      this.#clients.delete(client);
      if (client.greeted) {
        this.#options.log.info({ client: client.label, lost: client.framesDropped }, 'a program left the bus');
      }
    });
  }

  #receive(client: Client, chunk: Buffer): void {
    if (client.socket.destroyed) return;
    let records = client.cutter.push(chunk);
    if (!client.greeted && records.length > 0) {
      if (!this.#greet(client, records)) return;
      records = records.subarray(RECORD_SIZE);
    }
    if (records.length === 0) return;
    const timeUs = nowUs();
    for (let at = 0; at < records.length; at += RECORD_SIZE) {
      const fault =
        recordFault(records, at) ??
        (recordType(records, at) === RecordType.Frame ? undefined : 'it is not a valid CAN frame');
      if (fault !== undefined) {
        // Records before the bad one are valid, and are passed on.
        if (at > 0) this.#distribute(client, records.subarray(0, at));
        this.#expel(client, fault);
        return;
      }
      stampRecord(records, at, timeUs);
    }
    this.#distribute(client, records);
  }

  #greet(client: Client, records: Buffer): boolean {
    const fault =
      recordFault(records, 0) ?? (recordType(records, 0) === RecordType.Hello ? undefined : 'it did not say hello');
    if (fault !== undefined) {
      this.#expel(client, fault);
      return false;
    }
    client.name = helloName(records, 0);
    client.greeted = true;
    client.socket.write(encodeHello(this.#options.name));
    this.#options.log.info({ client: client.label }, 'a program joined the bus');
    return true;
  }

  #distribute(from: Client, records: Buffer): void {
    from.framesReceived += records.length / RECORD_SIZE;
    for (const client of this.#clients) {
      if (client !== from && client.greeted) client.deliver(records);
    }
  }

  #expel(client: Client, why: string): void {
    this.#options.log.warn({ client: client.label, reason: why }, 'connection ended');
    client.socket.destroy();
  }
}

function unavailable(socketPath: string, what: string, cause?: unknown): KerbError {
  return new KerbError(
    ErrorCode.BusUnavailable,
    `cannot serve a CAN bus at ${socketPath}: ${what}`,
    { socketPath },
    { cause },
  );
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** True when a process accepts connections at the path. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const probe = createConnection(path);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', (error) => {
      if (isErrno(error, 'ECONNREFUSED') || isErrno(error, 'ENOENT')) resolve(false);
      else reject(error);
    });
  });
}
