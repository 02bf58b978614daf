import { ErrorCode, KerbError, messageOf } from '../../shared/base/errors.ts';
import { type Engine, engineMessage, engineStatus, isDiskFull } from '../engine/docker-client.ts';
import { readProgress } from '../engine/progress-stream.ts';
import { type ContentFile, contentHash, tarOf, withFolders } from './content.ts';

/** Label that says what an image was built from. */
const CONTENT_LABEL = 'kerbside.content';

/** Characters of what a failed program printed that are repeated. */
const MAX_LAST = 200;

/** Gets one line per step that takes more than a moment. */
export type Progress = (line: string) => void;

export interface BuiltImage {
  readonly tag: string;
  readonly id: string;
  /** False when the image was there already, built from the same content. */
  readonly built: boolean;
}

/**
 * Builds an image on the engine, unless it has one under this tag from the same content.
 * @param salt What the image depends on besides the files, such as the id of the image that it is built on.
 * @throws KerbError ImageBuildFailed with the sentence of the engine
 */
export async function buildUnlessThere(
  engine: Engine,
  tag: string,
  files: readonly ContentFile[],
  salt: readonly string[],
  progress: Progress,
): Promise<BuiltImage> {
  const hash = await contentHash(files, salt);
  const there = await inspectImage(engine, tag);
  if (there?.labels[CONTENT_LABEL] === hash) return { tag, id: there.id, built: false };
  progress(`building ${tag}`);
  let last = '';
  try {
    const stream = await engine.streams.buildImage(tarOf(files), {
      t: tag,
      labels: { [CONTENT_LABEL]: hash },
      networkmode: 'none',
      forcerm: true,
    });
    await readProgress(stream, ({ stream: said }) => {
      const line = (said ?? '').trim();
      // Of what the engine prints, the steps are what a person wants to see, and what a failed one said.
      if (line.startsWith('Step ')) progress(`${tag}: ${line}`);
      else if (line !== '') last = line;
    });
  } catch (error) {
    throw buildError(tag, engineMessage(error), last);
  }
  return await builtImage(engine, tag);
}

/**
 * Makes an image with one layer of these files, unless the engine has one under this tag from the same content. A build of the
 * same files takes the engine four times as long: it writes them three times, and hashes them twice.
 * @param tag NAME:TAG
 * @param instructions of a Dockerfile that change no files, such as `USER 10001`
 * @throws KerbError ImageBuildFailed with the sentence of the engine
 */
export async function importUnlessThere(
  engine: Engine,
  tag: string,
  files: readonly ContentFile[],
  instructions: readonly string[],
  progress: Progress,
): Promise<BuiltImage> {
  const hash = await contentHash(files, instructions);
  const there = await inspectImage(engine, tag);
  if (there?.labels[CONTENT_LABEL] === hash) return { tag, id: there.id, built: false };
  progress(`building ${tag}`);
  const [repo, version] = tag.split(':');
  const changes = [...instructions, `LABEL ${CONTENT_LABEL}=${hash}`];
  try {
    // dockerode's types take a file only; it hands a stream on as it does for a build.
    const tar = tarOf(withFolders(files)) as unknown as string;
    await readProgress(await engine.streams.importImage(tar, { repo, tag: version, changes }), () => {});
  } catch (error) {
    throw buildError(tag, engineMessage(error), '');
  }
  return await builtImage(engine, tag);
}

async function builtImage(engine: Engine, tag: string): Promise<BuiltImage> {
  const image = await inspectImage(engine, tag);
  if (image === undefined) {
    throw new KerbError(ErrorCode.ImageBuildFailed, `the engine built ${tag} and does not have it`, { tag });
  }
  return { tag, id: image.id, built: true };
}

/** @param last what the engine printed last; of a program that failed, that says why */
function buildError(tag: string, why: string, last: string): KerbError {
  if (isDiskFull(why)) {
    const message = `image ${tag} could not be built: the disk of the engine is full; make room there`;
    return new KerbError(ErrorCode.DiskFull, message, { tag });
  }
  const said =
    last !== '' && /returned a non-zero code/.test(why) ? ` (${last.replaceAll(/\s+/g, ' ').slice(0, MAX_LAST)})` : '';
  return new KerbError(ErrorCode.ImageBuildFailed, `image ${tag} could not be built: ${why}${said}`, { tag });
}

/** Id and labels of an image; undefined when the engine has none of that name. @throws KerbError EngineUnavailable */
export async function inspectImage(
  engine: Engine,
  name: string,
): Promise<{ readonly id: string; readonly labels: Readonly<Record<string, string>> } | undefined> {
  try {
    const { Id, Config } = await engine.calls.getImage(name).inspect();
    return { id: Id, labels: Config.Labels ?? {} };
  } catch (error) {
    if (engineStatus(error) === 404) return undefined;
    throw new KerbError(ErrorCode.EngineUnavailable, `the engine at ${engine.host}: ${messageOf(error)}`);
  }
}
