import { existsSync } from 'node:fs';
import { ErrorCode, isKerbError, KerbError } from '../../shared/base/errors.ts';
import type { Logger } from '../../shared/base/log.ts';
import { type Engine, reachEngine } from './docker-client.ts';

const DEFAULT_SOCKET = '/var/run/docker.sock';

/**
 * The engine that is there already: the one of DOCKER_HOST, else the one at the default socket; undefined when there is
 * none.
 * @throws KerbError EngineUnavailable when DOCKER_HOST names one that does not answer: who names an engine wants no other
 */
export async function findEngine(log: Logger): Promise<Engine | undefined> {
  const named = process.env.DOCKER_HOST;
  if (named) {
    try {
      return await reachEngine('external', named);
    } catch (error) {
      if (!isKerbError(error)) throw error;
      const message = `${error.message}; DOCKER_HOST names it: correct it, or unset it to get a private engine`;
      throw new KerbError(ErrorCode.EngineUnavailable, message, error.context, { cause: error });
    }
  }
  if (!existsSync(DEFAULT_SOCKET)) return undefined;
  try {
    return await reachEngine('external', `unix://${DEFAULT_SOCKET}`);
  } catch (error) {
    if (!isKerbError(error)) throw error;
    log.warn({ code: error.code, reason: error.message }, 'using a private Docker Engine instead of the default one');
    return undefined;
  }
}
