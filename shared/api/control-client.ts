import { request } from 'node:http';
import { ErrorCode, KerbError, messageOf } from '../errors.ts';

/** Longest answer that a control socket may give, in bytes; a status is a few kilobytes. */
const MAX_ANSWER = 16 * 1024 * 1024;

/**
 * One GET on the control socket of a daemon.
 * @param path for example `/v1/status`
 * @throws KerbError ApiUnavailable when nobody answers within `timeoutMs`, or answers anything but 200; its cause is the
 * system's error (ENOENT, ECONNREFUSED) when nobody is there
 */
export function getControl(socketPath: string, path: string, timeoutMs = 2000): Promise<string> {
  return new Promise((resolve, reject) => {
    const failed = (why: string, cause?: unknown) => {
      const message = `no answer on the control socket ${socketPath}: ${why}`;
      reject(new KerbError(ErrorCode.ApiUnavailable, message, { socketPath, path }, { cause }));
    };
    const call = request({ socketPath, path, timeout: timeoutMs, agent: false }, (answer) => {
      const chunks: Buffer[] = [];
      let size = 0;
      answer.on('data', (chunk: Buffer) => {
        size += chunk.length;
        if (size > MAX_ANSWER) answer.destroy(new Error(`the answer is longer than ${MAX_ANSWER} bytes`));
        chunks.push(chunk);
      });
      answer.on('error', (error) => failed(messageOf(error)));
      answer.on('end', () => {
        const body = Buffer.concat(chunks).toString('utf8');
        if (answer.statusCode === 200) resolve(body);
        else failed(`${path} was answered with ${answer.statusCode}: ${body.slice(0, 200)}`);
      });
    });
    call.on('timeout', () => call.destroy(new Error(`nothing came within ${timeoutMs} ms`)));
    call.on('error', (error) => failed(messageOf(error), error));
    call.end();
  });
}

/** `GET /v1/status`, parsed. The daemons are ours: the shape is trusted, the syntax is not. */
export async function getStatus<Status>(socketPath: string, timeoutMs?: number): Promise<Status> {
  const body = await getControl(socketPath, '/v1/status', timeoutMs);
  try {
    return JSON.parse(body) as Status;
  } catch (error) {
    throw new KerbError(ErrorCode.ApiUnavailable, `the control socket ${socketPath} did not answer with JSON`, {
      socketPath,
      cause: messageOf(error),
    });
  }
}
