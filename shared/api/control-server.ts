import { lstat, unlink } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { pipeline } from 'node:stream/promises';
import { ErrorCode, isErrno, isKerbError, KerbError, messageOf } from '../errors.ts';
import type { Logger } from '../log.ts';

/** What a route is asked. */
export interface ControlRequest {
  /** What stood in the place of each `:name` of the route. */
  readonly params: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
  readonly body: Buffer;
  /** Fires when the client has gone or the server stops, before all has been answered. */
  readonly signal: AbortSignal;
}

/**
 * What one route answers. `status` is the HTTP status, 200 by default; `type` the media type of `body`. A body that comes
 * in parts is sent as they come, no faster than the client reads, and ended when the client goes.
 */
export interface ControlReply {
  readonly status?: number;
  readonly type: string;
  readonly body: string | Uint8Array | AsyncIterable<string | Uint8Array>;
}

export type ControlRoute = (request: ControlRequest) => ControlReply | Promise<ControlReply>;

export interface ControlServerOptions {
  /** At most 107 bytes, as Linux limits `sun_path`. Its directory has to exist. */
  readonly socketPath: string;
  /**
   * From "METHOD /path" (no query) to its answer, e.g. "GET /v1/status" or "POST /v1/workloads/:name/freeze". A KerbError
   * that a route throws is answered with 400 and as JSON: `message`, `code`, `context`.
   */
  readonly routes: Readonly<Record<string, ControlRoute>>;
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

/** An answer of JSON. */
export function jsonReply(value: unknown, status = 200): ControlReply {
  return { status, type: 'application/json', body: JSON.stringify(value) };
}

const MAX_SOCKET_PATH = 107;
/** Bytes that a client may send; a manifest is a few kilobytes. */
const MAX_BODY = 4 * 1024 * 1024;

/** The control API of a daemon: a few HTTP routes on a Unix socket. */
export function createControlServer(options: ControlServerOptions): ControlServer {
  return new UnixControlServer(options);
}

class UnixControlServer implements ControlServer {
  readonly #options: ControlServerOptions;
  readonly #routes: readonly Route[];
  #server: Server | undefined;
  #listening: Promise<void> = Promise.resolve();

  constructor(options: ControlServerOptions) {
    this.#options = options;
    this.#routes = Object.entries(options.routes).map(([pattern, handler]) => toRoute(pattern, handler));
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
    const server = createServer((request, response) => void this.#serve(request, response));
    this.#server = server;
    this.#listening = listenPrivately(server, socketPath);
    await this.#listening;
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (server === undefined) return;
    // In the middle of start(): a server has to listen before it can be closed.
    await this.#listening.catch(() => {});
    // Node removes the socket file itself when it closes the handle.
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeAllConnections();
    await closed;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    const reply = await this.#answer(request, gone.signal);
    const { body } = reply;
    const whole = typeof body === 'string' || body instanceof Uint8Array;
    response.writeHead(reply.status ?? 200, {
      'content-type': reply.type,
      'cache-control': 'no-store',
      ...(whole && { 'content-length': Buffer.byteLength(body) }),
      // What is left of a body that was too long is not read.
      ...(reply.status === 413 && { connection: 'close' }),
    });
    if (whole) {
      response.end(body);
      return;
    }
    response.flushHeaders();
    // A client that goes is no failure; a source that fails cuts the answer off, which the client sees.
    await pipeline(body, response).catch((error: unknown) => {
      if (!gone.signal.aborted) this.#options.log.error({ err: messageOf(error) }, 'an answer was cut off');
    });
  }

  async #answer(request: IncomingMessage, signal: AbortSignal): Promise<ControlReply> {
    const url = new URL(`http://control${request.url?.startsWith('/') ? request.url : '/'}`);
    const asked = `${request.method} ${url.pathname}`;
    try {
      for (const { pattern, names, handler } of this.#routes) {
        const match = pattern.exec(asked);
        if (match === null) continue;
        const params = Object.fromEntries(names.map((name, i) => [name, decode(match[i + 1]!)]));
        const body = await readBody(request);
        if (body === undefined) return jsonReply({ message: `the body is longer than ${MAX_BODY} bytes` }, 413);
        return await handler({ params, query: url.searchParams, body, signal });
      }
      request.resume();
      return jsonReply({ message: `no such route: ${asked}`, routes: Object.keys(this.#options.routes) }, 404);
    } catch (error) {
      request.resume();
      if (isKerbError(error)) {
        return jsonReply({ message: error.message, code: error.code, context: error.context }, 400);
      }
      this.#options.log.error({ route: asked, err: error }, 'a control route failed');
      return jsonReply({ message: messageOf(error) }, 500);
    }
  }
}

interface Route {
  readonly pattern: RegExp;
  readonly names: readonly string[];
  readonly handler: ControlRoute;
}

function toRoute(route: string, handler: ControlRoute): Route {
  const names: string[] = [];
  const pattern = route.replace(/[.*+?^${}()|[\]\\]/g, '\\$&').replace(/:(\w+)/g, (_all, name: string) => {
    names.push(name);
    return '([^/]+)';
  });
  return { pattern: new RegExp(`^${pattern}$`), names, handler };
}

/** A part of a path as a person meant it; as it came when its escapes are none. */
function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** Undefined when it is too long. */
async function readBody(request: IncomingMessage): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_BODY) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

async function listenPrivately(server: Server, socketPath: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) =>
      reject(
        new KerbError(
          ErrorCode.ApiUnavailable,
          `cannot listen on the control socket ${socketPath}: ${messageOf(error)}`,
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
        `${socketPath} exists and is no socket; remove it or choose another`,
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
