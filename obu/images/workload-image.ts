import { existsSync, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ErrorCode, isErrno, KerbError } from '../../shared/base/errors.ts';
import { readFault } from '../../shared/host/read-fault.ts';
import type { Engine } from '../engine/docker-client.ts';
import { BASE_IMAGE, buildBaseImage } from './base-image.ts';
import { type BuiltImage, buildUnlessThere, inspectImage, type Progress } from './build.ts';
import { filesBelow, MAX_CONTEXT_BYTES } from './content.ts';

/**
 * Builds the image of a workload from a folder with a Dockerfile, and the base image first when the Dockerfile names
 * it. Nothing is pulled: every other image that it names has to be on the engine.
 * @throws KerbError ImageBuildFailed | ImageMissing
 */
export async function buildWorkloadImage(
  engine: Engine,
  folder: string,
  tag: string,
  progress: Progress,
): Promise<BuiltImage> {
  const dockerfile = await readDockerfile(folder);
  if (existsSync(join(folder, '.dockerignore'))) {
    throw new KerbError(
      ErrorCode.ImageBuildFailed,
      `${join(folder, '.dockerignore')}: this builder sends the whole folder; keep in it only what the image needs`,
    );
  }
  const files = await filesBelow(folder);
  const size = files.reduce((sum, { body }) => sum + ('file' in body ? statSync(body.file).size : 0), 0);
  if (size > MAX_CONTEXT_BYTES) {
    throw new KerbError(ErrorCode.ImageBuildFailed, `${folder} has ${size} bytes, more than ${MAX_CONTEXT_BYTES}`);
  }
  const bases: string[] = [];
  for (const name of baseImages(dockerfile)) {
    if (name === BASE_IMAGE) {
      bases.push((await buildBaseImage(engine, progress)).id);
      continue;
    }
    const base = await inspectImage(engine, name);
    if (base === undefined) {
      throw new KerbError(
        ErrorCode.ImageMissing,
        `${join(folder, 'Dockerfile')} builds on ${name}, which is not on this engine; load it first (nothing is pulled)`,
        { image: name },
      );
    }
    bases.push(base.id);
  }
  return buildUnlessThere(engine, tag, files, bases, progress);
}

/** Images that a Dockerfile builds on, without its own stages and `scratch`. */
export function baseImages(dockerfile: string): string[] {
  const stages = new Set<string>(['scratch']);
  const images = new Set<string>();
  for (const line of dockerfile.split('\n')) {
    const match = /^\s*FROM\s+(?:--\S+\s+)*(\S+)(?:\s+AS\s+(\S+))?\s*$/i.exec(line);
    if (!match) continue;
    const [, image, stage] = match;
    if (!stages.has(image!.toLowerCase())) images.add(image!);
    if (stage) stages.add(stage.toLowerCase());
  }
  return [...images];
}

async function readDockerfile(folder: string): Promise<string> {
  const file = join(folder, 'Dockerfile');
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if (!isErrno(error)) throw error;
    throw new KerbError(ErrorCode.ImageBuildFailed, `${file} cannot be read: ${readFault(error)}`, { file });
  }
}
