import { inject } from 'vitest';

/** Whether test files share an engine; not where the machine has one of its own, or can have none. */
export const hasSharedEngine = (): boolean => inject('sharedEngine') !== '';

/**
 * From here on this file's OBUs, and the commands that it starts, use the engine that test files share; other files do so
 * at the same time, so images need a name of their own and lists a filter. Not for files that stop or kill their engine.
 */
export function useSharedEngine(): void {
  const host = inject('sharedEngine');
  if (host !== '') process.env.DOCKER_HOST = host;
}

/** The environment of an OBU that has an engine of its own, in a file whose other OBUs use the shared one. */
export function ownEngine(): NodeJS.ProcessEnv {
  const { DOCKER_HOST: shared, ...others } = process.env;
  return hasSharedEngine() ? others : { ...others, DOCKER_HOST: shared };
}
