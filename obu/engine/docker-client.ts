import type Docker from 'dockerode';
import { ErrorCode, KerbError, messageOf } from '../../shared/base/errors.ts';
import { plainFault } from '../workloads/start-fault.ts';
import { Dockerode } from './dockerode.ts';

/** How long one call to the engine may take without a byte, in milliseconds. A busy board can be slow. */
const CALL_TIMEOUT_MS = 60_000;
const PING_TIMEOUT_MS = 10_000;

/** One Docker Engine, reached. */
export interface Engine {
  readonly kind: 'external' | 'private';
  /** As DOCKER_HOST has it: "unix:///var/run/docker.sock". */
  readonly host: string;
  readonly version: string;
  /** For calls: gives up on an engine that hangs. */
  readonly calls: Docker;
  /** For answers that never end or may be silent for long: events, logs, builds. */
  readonly streams: Docker;
}

/** Clients for `host`, which is what DOCKER_HOST may be. TLS files come from the variables that Docker itself reads. */
export function clientsFor(host: string): { readonly calls: Docker; readonly streams: Docker } {
  if (host.startsWith('unix://')) {
    const socketPath = host.slice('unix://'.length);
    return { calls: new Dockerode({ socketPath, timeout: CALL_TIMEOUT_MS }), streams: new Dockerode({ socketPath }) };
  }
  if (process.env.DOCKER_HOST !== host) {
    throw new KerbError(
      ErrorCode.EngineUnavailable,
      `"${host}" is not a valid engine address: it must be unix:///PATH; others go into DOCKER_HOST`,
      { host },
    );
  }
  // dockerode reads DOCKER_HOST, DOCKER_TLS_VERIFY and DOCKER_CERT_PATH itself.
  return { calls: new Dockerode({ timeout: CALL_TIMEOUT_MS }), streams: new Dockerode() };
}

/** @throws KerbError EngineUnavailable when nobody answers there */
export async function reachEngine(kind: Engine['kind'], host: string): Promise<Engine> {
  const { calls, streams } = clientsFor(host);
  try {
    await withTimeout(calls.ping(), PING_TIMEOUT_MS);
    const { Version } = await withTimeout(calls.version(), PING_TIMEOUT_MS);
    return { kind, host, version: Version, calls, streams };
  } catch (error) {
    throw new KerbError(ErrorCode.EngineUnavailable, `no Docker Engine answers at ${host}: ${messageOf(error)}`, {
      host,
    });
  }
}

/** The HTTP status of an error of the engine; undefined for any other error. */
export function engineStatus(error: unknown): number | undefined {
  const status = (error as { statusCode?: unknown } | null)?.statusCode;
  return typeof status === 'number' ? status : undefined;
}

/** The engine's sentence, without dockerode's decoration and in words that say what to do where we know it. */
export function engineMessage(error: unknown): string {
  const said = (error as { json?: { message?: unknown } } | null)?.json?.message;
  return plainFault(typeof said === 'string' ? said : messageOf(error));
}

/** True when the engine's message means that its disk is full. */
export function isDiskFull(message: string): boolean {
  return /no space left on device|disk quota exceeded/i.test(message);
}

/** The engine is silent. */
export class AnswerTimeout extends Error {}

/** @throws AnswerTimeout when the promise is not settled in time; what it waits for goes on */
export async function withTimeout<T>(promise: Promise<T>, ms: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  try {
    return await Promise.race([
      promise,
      new Promise<never>((_resolve, reject) => {
        timer = setTimeout(() => reject(new AnswerTimeout(`it did not answer within ${ms} ms`)), ms);
      }),
    ]);
  } finally {
    clearTimeout(timer);
  }
}
