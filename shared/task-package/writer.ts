import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { ErrorCode, isErrno, KerbError, messageOf } from '../base/errors.ts';
import { writeFileAtomically } from '../host/atomic-write.ts';
import {
  ARTIFACT_TYPE,
  CONFIG_SCHEMA_VERSION,
  CONFIG_TYPE,
  type DemandedIsolation,
  type Descriptor,
  digestOf,
  EMPTY_JSON,
  EMPTY_TYPE,
  IMAGE_TYPE,
  INDEX_FILE,
  INDEX_TYPE,
  indexSchema,
  LAYOUT_FILE,
  LAYOUT_VERSION,
  MANIFEST_TYPE,
  SIGNATURE_TYPE,
  type TaskConfig,
  type TaskState,
} from './format.ts';
import { readImageNotes } from './image-notes.ts';
import { checkState } from './state-frame.ts';

export interface TaskPackageParts {
  /** One ELF image per architecture. Their notes name the task and its sizes, and have to agree. */
  readonly images: readonly Buffer[];
  readonly version: string;
  readonly isolation: DemandedIsolation;
  /** Milliseconds that a call is expected to take. */
  readonly costMs?: number;
  /** It takes the state of a session. */
  readonly state?: TaskState;
}

/**
 * Writes a task package to the directory `out` and returns its digest. The same parts give the same bytes. `out` appears
 * complete or not at all; a package that is there is replaced, anything else is not touched.
 * @throws KerbError BadTaskPackage
 */
export async function buildTaskPackage(out: string, parts: TaskPackageParts): Promise<string> {
  const images = parts.images
    .map((bytes) => ({ bytes, notes: readImageNotes(bytes, 'an image') }))
    .sort((a, b) => (a.notes.architecture < b.notes.architecture ? -1 : 1));
  const [first] = images;
  if (first === undefined) throw new KerbError(ErrorCode.BadTaskPackage, 'a task package needs at least one image');
  const { architecture: _, ...declared } = first.notes;
  for (const { notes } of images) {
    for (const key of Object.keys(declared) as (keyof typeof declared)[]) {
      if (notes[key] === declared[key]) continue;
      throw new KerbError(
        ErrorCode.BadTaskPackage,
        `the images of a package declare different values of ${key}: ${declared[key]} and ${notes[key]}`,
      );
    }
  }
  if (new Set(images.map(({ notes }) => notes.architecture)).size !== images.length) {
    throw new KerbError(ErrorCode.BadTaskPackage, 'a package has one image per architecture, not two');
  }

  const blobs: Buffer[] = [];
  const add = <T extends string>(bytes: Buffer, mediaType: T): Descriptor & { mediaType: T } => {
    blobs.push(bytes);
    return { mediaType, digest: digestOf(bytes), size: bytes.length };
  };
  const layers = images.map(({ bytes }) => add(bytes, IMAGE_TYPE));
  const config: TaskConfig = {
    schemaVersion: CONFIG_SCHEMA_VERSION,
    name: declared.name,
    version: parts.version,
    abiVersion: declared.abiVersion,
    memory: declared.memory,
    maxInput: declared.maxInput,
    maxOutput: declared.maxOutput,
    isolation: parts.isolation,
    ...(parts.costMs === undefined ? {} : { costMs: parts.costMs }),
    ...(parts.state === undefined ? {} : { state: parts.state }),
    images: images.map(({ notes }, i) => ({ architecture: notes.architecture, digest: layers[i]!.digest })),
  };
  checkState(config, 'the task');
  const manifest = add(
    json({
      schemaVersion: 2,
      mediaType: MANIFEST_TYPE,
      artifactType: ARTIFACT_TYPE,
      config: add(json(config), CONFIG_TYPE),
      layers,
    }),
    MANIFEST_TYPE,
  );
  const index = { schemaVersion: 2, mediaType: INDEX_TYPE, manifests: [{ ...manifest, artifactType: ARTIFACT_TYPE }] };

  await replaceDirectory(out, async (dir) => {
    await mkdir(join(dir, 'blobs', 'sha256'), { recursive: true });
    for (const blob of blobs) await writeFile(join(dir, 'blobs', ...digestOf(blob).split(':')), blob);
    await writeFile(join(dir, LAYOUT_FILE), json({ imageLayoutVersion: LAYOUT_VERSION }));
    await writeFile(join(dir, INDEX_FILE), json(index));
  });
  return manifest.digest;
}

/**
 * Gives a package these signatures (Sigstore bundles) and no others. Its digest stays as it is. Blobs of former ones are
 * left: they cost little, and a reader may be at them.
 * @throws KerbError BadTaskPackage: it cannot be written
 */
export async function addSignature({ dir, digest }: { dir: string; digest: string }, bundles: readonly Buffer[]) {
  try {
    const path = join(dir, INDEX_FILE);
    const index = indexSchema.parse(JSON.parse(await readFile(path, 'utf8')));
    const subject = index.manifests.find((manifest) => manifest.digest === digest)!;
    const add = async (bytes: Buffer, mediaType: string): Promise<Descriptor> => {
      await writeFile(join(dir, 'blobs', ...digestOf(bytes).split(':')), bytes);
      return { mediaType, digest: digestOf(bytes), size: bytes.length };
    };
    const manifests = index.manifests.filter(({ artifactType }) => artifactType !== SIGNATURE_TYPE);
    for (const bundle of bundles) {
      const manifest = {
        schemaVersion: 2,
        mediaType: MANIFEST_TYPE,
        artifactType: SIGNATURE_TYPE,
        config: await add(EMPTY_JSON, EMPTY_TYPE),
        layers: [await add(bundle, SIGNATURE_TYPE)],
        subject: { mediaType: subject.mediaType, digest, size: subject.size },
      };
      manifests.push({ ...(await add(json(manifest), MANIFEST_TYPE)), artifactType: SIGNATURE_TYPE });
    }
    await writeFileAtomically(path, JSON.stringify({ ...index, manifests }), { mode: 0o644 });
  } catch (cause) {
    throw new KerbError(
      ErrorCode.BadTaskPackage,
      `cannot put a signature into ${dir}: ${messageOf(cause)}`,
      { dir },
      { cause },
    );
  }
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

async function replaceDirectory(out: string, fill: (dir: string) => Promise<void>): Promise<void> {
  const target = resolve(out);
  const entries = await readdir(target).catch((error: unknown) => {
    if (isErrno(error, 'ENOENT')) return undefined;
    throw new KerbError(
      ErrorCode.BadTaskPackage,
      `cannot write a package to ${out}: ${String(error)}`,
      { out },
      { cause: error },
    );
  });
  if (entries !== undefined && entries.length > 0 && !entries.includes(LAYOUT_FILE)) {
    throw new KerbError(
      ErrorCode.BadTaskPackage,
      `${out} holds something that is not a task package; choose another directory`,
      {
        out,
      },
    );
  }
  // The dot keeps a broker that reads the parent directory from taking the unfinished one for a package.
  const beside = (purpose: string) =>
    join(dirname(target), `.${basename(target)}.${purpose}-${randomBytes(6).toString('hex')}`);
  const fresh = beside('new');
  const old = beside('old');
  try {
    await mkdir(fresh, { recursive: true });
    await fill(fresh);
    if (entries !== undefined) await rename(target, old);
    await rename(fresh, target).catch(async (error: unknown) => {
      if (entries !== undefined) await rename(old, target);
      throw error;
    });
    await rm(old, { recursive: true, force: true });
  } finally {
    await rm(fresh, { recursive: true, force: true });
  }
}
