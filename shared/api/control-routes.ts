import type { IncomingMessage, ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { isKerbError, messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { Principal } from '../identity/identity.ts';

/** The request to a route. */
export interface ControlRequest {
  /** Values of the `:name` parts of the route. */
  readonly params: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
  readonly body: Buffer;
  /** The caller, by its certificate; undefined on the control socket, which only its owner can open. */
  readonly caller?: Principal | undefined;
  /** Fires when the client has gone or the server stops, before all has been answered. */
  readonly signal: AbortSignal;
}

/**
 * The answer of a route. `status` is the HTTP status, 200 by default; `type` the media type of `body`. A body that
 * comes in parts is sent as they come, no faster than the client reads, and ended when the client goes.
 */
export interface ControlReply {
  readonly status?: number;
  readonly type: string;
  readonly body: string | Uint8Array | AsyncIterable<string | Uint8Array>;
}

export type ControlRoute = (request: ControlRequest) => ControlReply | Promise<ControlReply>;

/**
 * From "METHOD /path" (no query) to its answer, e.g. "GET /v1/status" or "POST /v1/workloads/:name/freeze". A KerbError
 * that a route throws is answered with 400 and as JSON: `message`, `code`, `context`.
 */
export type ControlRoutes = Readonly<Record<string, ControlRoute>>;

/** An answer of JSON. */
export function jsonReply(value: unknown, status = 200): ControlReply {
  return { status, type: 'application/json', body: JSON.stringify(value) };
}

/** An answer of JSON values, one in each line, as they come. */
export function linesReply(values: AsyncIterable<unknown>): ControlReply {
  return { type: 'application/x-ndjson', body: linesOf(values) };
}

async function* linesOf(values: AsyncIterable<unknown>): AsyncGenerator<string> {
  for await (const value of values) yield `${JSON.stringify(value)}\n`;
}

/** Bytes that a client may send; a manifest is a few kilobytes. */
const MAX_BODY = 4 * 1024 * 1024;

interface Route {
  readonly pattern: RegExp;
  readonly names: readonly string[];
  readonly handler: ControlRoute;
}

/** Answers HTTP requests by routes, however they come in. */
export class HttpRouter {
  readonly #names: readonly string[];
  readonly #routes: readonly Route[];
  readonly #log: Logger;

  constructor(routes: ControlRoutes, log: Logger) {
    this.#names = Object.keys(routes);
    this.#routes = Object.entries(routes).map(([pattern, handler]) => toRoute(pattern, handler));
    this.#log = log;
  }

  /** Never throws. */
  async serve(request: IncomingMessage, response: ServerResponse, caller?: Principal): Promise<void> {
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    await this.send(response, await this.#answer(request, gone.signal, caller), gone.signal);
  }

  /** Sends an answer that no route gave. Never throws. */
  async send(response: ServerResponse, reply: ControlReply, gone: AbortSignal): Promise<void> {
    const { body } = reply;
    const whole = typeof body === 'string' || body instanceof Uint8Array;
    response.writeHead(reply.status ?? 200, {
      'content-type': reply.type,
      'cache-control': 'no-store',
      ...(whole && { 'content-length': Buffer.byteLength(body) }),
      // The rest of a body that is too long is not read.
      ...(reply.status === 413 && { connection: 'close' }),
    });
    if (whole) {
      response.end(body);
      return;
    }
    response.flushHeaders();
    // A client that goes is no failure; a source that fails cuts the answer off, which the client sees.
    await pipeline(body, response).catch((error: unknown) => {
      if (!gone.aborted) this.#log.error({ err: messageOf(error) }, 'an HTTP answer was cut off');
    });
  }

  async #answer(request: IncomingMessage, signal: AbortSignal, caller?: Principal): Promise<ControlReply> {
    const url = new URL(`http://control${request.url?.startsWith('/') ? request.url : '/'}`);
    const asked = `${request.method} ${url.pathname}`;
    try {
      for (const { pattern, names, handler } of this.#routes) {
        const match = pattern.exec(asked);
        if (match === null) continue;
        const params = Object.fromEntries(names.map((name, i) => [name, decode(match[i + 1]!)]));
        const body = await readBody(request);
        if (body === undefined) return jsonReply({ message: `the body is longer than ${MAX_BODY} bytes` }, 413);
        return await handler({ params, query: url.searchParams, body, caller, signal });
      }
      request.resume();
      return jsonReply({ message: `no such route: ${asked}`, routes: this.#names }, 404);
    } catch (error) {
      request.resume();
      if (isKerbError(error)) return errorReply(error);
      this.#log.error({ path: asked, err: error }, 'a control route failed');
      return jsonReply({ message: messageOf(error) }, 500);
    }
  }
}

/** An error of ours, for the client to throw again. */
export function errorReply(
  error: { readonly message: string; readonly code: number; readonly context: unknown },
  status = 400,
): ControlReply {
  return jsonReply({ message: error.message, code: error.code, context: error.context }, status);
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
