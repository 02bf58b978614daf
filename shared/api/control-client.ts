import { type IncomingMessage, request } from 'node:http';
import { request as tlsRequest } from 'node:https';
import type { ConnectionOptions } from 'node:tls';
import { ErrorCode, errorName, KerbError, messageOf } from '../base/errors.ts';

/** Longest answer that a control socket may give, in bytes; a status is a few kilobytes. */
const MAX_ANSWER = 16 * 1024 * 1024;

/** Address of a daemon's control API: the path of its socket, or its address with what TLS needs. */
export type ControlTarget = string | { readonly url: URL; readonly tls: ConnectionOptions };

export interface ControlCall {
  readonly method?: 'GET' | 'POST' | 'PUT' | 'DELETE';
  readonly body?: string | Uint8Array;
  /** Milliseconds without a byte from the daemon; 0 for as long as it takes. */
  readonly timeoutMs?: number;
  /** Ends the call. */
  readonly signal?: AbortSignal;
}

/**
 * One call on the control API of a daemon; the answer comes in the parts in which it is sent.
 * @param path for example `/v1/status`; parts that a person typed need `encodeURIComponent`
 * @throws KerbError ApiUnavailable when nobody answers in time, and its cause is the system's error (ENOENT,
 * ECONNREFUSED) when nobody is there; the daemon's own KerbError when it answers with one
 */
export async function* streamControl(
  target: ControlTarget,
  path: string,
  call: ControlCall = {},
): AsyncGenerator<Buffer> {
  const answer = await send(target, path, call);
  if (answer.statusCode !== 200) throw refusalOf(path, answer.statusCode ?? 0, await wholeOf(answer));
  try {
    for await (const chunk of answer as AsyncIterable<Buffer>) yield chunk;
  } catch (error) {
    if (call.signal?.aborted) return;
    throw failed(target, path, messageOf(error), error);
  } finally {
    answer.destroy();
  }
}

/** As `streamControl`, with the whole answer at once, of 16 MiB at most. */
export async function callControl(target: ControlTarget, path: string, call: ControlCall = {}): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of streamControl(target, path, call)) {
    size += chunk.length;
    if (size > MAX_ANSWER) throw failed(target, path, `the answer is longer than ${MAX_ANSWER} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** One GET, as text. @throws KerbError as `streamControl` */
export async function getControl(target: ControlTarget, path: string, timeoutMs = 2000): Promise<string> {
  return (await callControl(target, path, { timeoutMs })).toString('utf8');
}

function send(target: ControlTarget, path: string, call: ControlCall): Promise<IncomingMessage> {
  const { method = 'GET', body, timeoutMs = 2000, signal } = call;
  const options = { path, method, timeout: timeoutMs, agent: false, signal } as const;
  return new Promise((resolve, reject) => {
    const asked =
      typeof target === 'string'
        ? request({ ...options, socketPath: target }, resolve)
        : tlsRequest(
            {
              ...options,
              ...target.tls,
              host: target.url.hostname.replace(/^\[|\]$/g, ''),
              port: target.url.port || 443,
            },
            resolve,
          );
    asked.on('timeout', () => asked.destroy(new Error(`nothing came within ${timeoutMs} ms`)));
    asked.on('error', (error) => reject(failed(target, path, messageOf(error), error)));
    asked.end(body);
  });
}

/** For messages. */
export function nameOf(target: ControlTarget): string {
  return typeof target === 'string' ? `the control socket ${target}` : `the API at ${target.url.origin}`;
}

async function wholeOf(answer: IncomingMessage): Promise<string> {
  let text = '';
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    if (text.length < MAX_ANSWER) text += chunk.toString('utf8');
  }
  return text;
}

function failed(target: ControlTarget, path: string, why: string, cause?: unknown): KerbError {
  const message = `no answer on ${nameOf(target)}: ${why}`;
  return new KerbError(ErrorCode.ApiUnavailable, message, { path }, { cause });
}

/** The daemon's own error, when it sent one that this version knows. */
function refusalOf(path: string, status: number, body: string): KerbError {
  const answered = (text: string) =>
    new KerbError(ErrorCode.ApiUnavailable, `${path} was answered with ${status}: ${text}`, { path, status });
  try {
    const { message, code, context } = JSON.parse(body);
    if (typeof message === 'string' && errorName(code) !== 'Unknown')
      return new KerbError(code, message, context ?? {});
    if (typeof message === 'string') return answered(message);
  } catch {
    // Not JSON: somebody else's server.
  }
  return new KerbError(ErrorCode.ApiUnavailable, `${path} was answered with ${status}: ${body.slice(0, 200)}`, {
    path,
  });
}

/** `GET /v1/status`, parsed. The daemons are ours: the shape is trusted, the syntax is not. */
export async function getStatus<Status>(target: ControlTarget, timeoutMs?: number): Promise<Status> {
  const body = await getControl(target, '/v1/status', timeoutMs);
  try {
    return JSON.parse(body) as Status;
  } catch (error) {
    throw new KerbError(ErrorCode.ApiUnavailable, `${nameOf(target)} did not answer with JSON`, {
      cause: messageOf(error),
    });
  }
}
