import { inject } from 'vitest';

/**
 * From here on this file's OBUs, and the commands that it starts, use the engine that test files share; other files do so
 * at the same time, so images need a name of their own and lists a filter. Not for files that stop or kill their engine.
 */
export function useSharedEngine(): void {
  const host = inject('sharedEngine');
  if (host !== '') process.env.DOCKER_HOST = host;
}
