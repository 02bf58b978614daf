/** Names of our own for images that a workload may have to go back to, so that nobody's tidying removes them. */
import { type Engine, engineStatus } from '../engine/docker-client.ts';

const REPOSITORY = 'kerbside-good';

/** @param stateHash tells apart the OBUs that share an engine */
const repositoryOf = (stateHash: string, workload: string) => `${REPOSITORY}/${stateHash}/${encode(workload)}`;

/** A name of a workload may have separators in a row, a part of an image's name may not. */
const encode = (workload: string) => Buffer.from(workload).toString('hex');

/** Image id by workload. */
export async function keptImages(engine: Engine, stateHash: string): Promise<Map<string, string>> {
  const prefix = `${REPOSITORY}/${stateHash}/`;
  const images = await engine.calls.listImages({ filters: { reference: [`${prefix}*`] } });
  const kept = new Map<string, string>();
  for (const { Id, RepoTags } of images) {
    for (const tag of RepoTags ?? []) {
      const hex = tag.startsWith(prefix) ? tag.slice(prefix.length).split(':')[0]! : '';
      if (hex !== '') kept.set(Buffer.from(hex, 'hex').toString(), Id);
    }
  }
  return kept;
}

export async function keepImage(engine: Engine, stateHash: string, workload: string, imageId: string): Promise<void> {
  await engine.calls.getImage(imageId).tag({ repo: repositoryOf(stateHash, workload), tag: 'good' });
}

/** Takes the name away; the image goes with it when that was its last one and no container uses it. */
export async function releaseImage(engine: Engine, stateHash: string, workload: string): Promise<void> {
  try {
    await engine.calls.getImage(`${repositoryOf(stateHash, workload)}:good`).remove();
  } catch (error) {
    // 404: it is gone; 409: a container still uses it, and the next look tries again when that is gone.
    const status = engineStatus(error);
    if (status !== 404 && status !== 409) throw error;
  }
}
