import { type Engine, engineStatus } from '../engine/docker-client.ts';

export interface FoundImage {
  readonly id: string;
  /** As the engine writes it, "amd64"; empty when the image does not say. */
  readonly architecture: string;
}

/** The digest at the end of NAME@sha256:…, or of an id alone; undefined when an image is not pinned. */
export function pinnedDigest(name: string): string | undefined {
  return /(?:^|@)(sha256:[0-9a-f]{64})$/.exec(name)?.[1];
}

/**
 * Finds the image on the engine by the name in a manifest; undefined when it is not there. The engine knows NAME@DIGEST
 * only of images that came from a registry; an image that was built or loaded here has no digest but its id, which pins
 * it as well.
 * @throws errors of dockerode when the engine does not answer
 */
export async function findImage(engine: Engine, name: string): Promise<FoundImage | undefined> {
  const found = await inspect(engine, name);
  if (found !== undefined) return found;
  const digest = pinnedDigest(name);
  return digest === undefined || digest === name ? undefined : await inspect(engine, digest);
}

async function inspect(engine: Engine, name: string): Promise<FoundImage | undefined> {
  try {
    const { Id, Architecture } = await engine.calls.getImage(name).inspect();
    return { id: Id, architecture: Architecture ?? '' };
  } catch (error) {
    if (engineStatus(error) === 404) return undefined;
    throw error;
  }
}
