import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import type { z } from 'zod';
import { ErrorCode, isErrno, KerbError, messageOf } from '../base/errors.ts';
import { readFault } from '../host/read-fault.ts';
import { plainIssue } from '../text/plain-issue.ts';
import {
  ARTIFACT_TYPE,
  CONFIG_SCHEMA_VERSION,
  configSchema,
  type Descriptor,
  digestOf,
  filesSchema,
  INDEX_FILE,
  indexSchema,
  LAYOUT_FILE,
  LAYOUT_VERSION,
  layoutSchema,
  MANIFEST_TYPE,
  MAX_BUNDLE,
  MAX_IMAGE,
  MAX_JSON,
  MAX_SIGNATURES,
  manifestSchema,
  SIGNATURE_TYPE,
  signatureManifestSchema,
  type TaskConfig,
} from './format.ts';
import { readImageNotes } from './image-notes.ts';
import { checkState } from './state-frame.ts';

/** A package whose every byte has been checked when it was read. */
export interface TaskPackage {
  readonly dir: string;
  /** "sha256:…" of the OCI manifest: the name of the package. */
  readonly digest: string;
  readonly config: TaskConfig;
  readonly images: readonly (Descriptor & { readonly architecture: string })[];
}

/**
 * Reads a package and verifies all of it: media types, schema versions, sizes, the digest of every blob, and that the
 * task's manifest says what the notes of its images say.
 * @throws KerbError BadTaskPackage; TaskPackageDigestMismatch for bytes that are not what their digest says; TaskTooLarge
 * for what is larger than a package or a task may be; WrongArchitecture for an image of a machine that is not known here
 */
export async function readTaskPackage(dir: string): Promise<TaskPackage> {
  const found = await readTaskManifests(dir);
  for (const image of found.images) {
    checkNotes(await readBlob(dir, image, MAX_IMAGE), image.architecture, found.config, dir);
  }
  return found;
}

/**
 * The same for a package whose images need not be there: what they say of themselves is not compared.
 * @throws as readTaskPackage
 */
export async function readTaskManifests(dir: string): Promise<TaskPackage> {
  const layout = parse(layoutSchema, await readWhole(join(dir, LAYOUT_FILE), MAX_JSON), join(dir, LAYOUT_FILE));
  if (layout.imageLayoutVersion !== LAYOUT_VERSION) {
    throw bad(
      `${dir} is an OCI image layout of version ${layout.imageLayoutVersion}; this program reads ${LAYOUT_VERSION}`,
      { dir },
    );
  }
  const index = parse(indexSchema, await readWhole(join(dir, INDEX_FILE), MAX_JSON), join(dir, INDEX_FILE));
  const found = index.manifests.filter(({ artifactType }) => artifactType === ARTIFACT_TYPE);
  const [reference] = found;
  if (reference === undefined || found.length > 1 || reference.mediaType !== MANIFEST_TYPE) {
    throw bad(`${dir} holds ${found.length} manifests of type ${ARTIFACT_TYPE}; a task package holds exactly one`, {
      dir,
    });
  }
  const manifest = parse(manifestSchema, await readBlob(dir, reference, MAX_JSON), `the OCI manifest in ${dir}`);
  const config = parseConfig(await readBlob(dir, manifest.config, MAX_JSON), dir);

  if (
    config.images.length !== manifest.layers.length ||
    config.images.some(({ digest }, i) => digest !== manifest.layers[i]!.digest)
  ) {
    throw bad(`the task's manifest in ${dir} and its OCI manifest list different images`, { dir });
  }
  const images = manifest.layers.map((layer, i) => ({ ...layer, architecture: config.images[i]!.architecture }));
  if (new Set(images.map(({ architecture }) => architecture)).size !== images.length) {
    throw bad(`${dir} holds two images for one architecture`, { dir });
  }
  return { dir, digest: reference.digest, config, images };
}

/**
 * The Sigstore bundles that the package carries about itself. What they say is not looked at.
 * @throws KerbError BadTaskPackage | TaskPackageDigestMismatch
 */
export async function readSignatures({ dir, digest }: TaskPackage): Promise<Buffer[]> {
  const index = parse(indexSchema, await readWhole(join(dir, INDEX_FILE), MAX_JSON), join(dir, INDEX_FILE));
  const references = index.manifests.filter(({ artifactType }) => artifactType === SIGNATURE_TYPE);
  if (references.length > MAX_SIGNATURES) {
    throw bad(`${dir} holds ${references.length} signatures; the limit is ${MAX_SIGNATURES}`, { dir });
  }
  const bundles: Buffer[] = [];
  for (const reference of references) {
    const where = `the OCI manifest of a signature in ${dir}`;
    const { layers, subject } = parse(signatureManifestSchema, await readBlob(dir, reference, MAX_JSON), where);
    if (subject.digest === digest) bundles.push(await readBlob(dir, layers[0]!, MAX_BUNDLE));
  }
  return bundles;
}

/** One file of a package: its path in the layout, and all of it. */
export interface PackageFile {
  readonly path: string;
  readonly bytes: Buffer;
}

/**
 * The files that make up a package with its signatures, hashed again now; whatever else lies in its directory is left out.
 * @throws KerbError BadTaskPackage | TaskPackageDigestMismatch | TaskTooLarge
 */
export async function readPackageFiles(taskPackage: TaskPackage): Promise<PackageFile[]> {
  return await readFiles(taskPackage, true);
}

/**
 * The same without the images: what is needed to verify the signatures, and to know what a task takes.
 * @throws as readPackageFiles
 */
export async function readDescription(taskPackage: TaskPackage): Promise<PackageFile[]> {
  return await readFiles(taskPackage, false);
}

async function readFiles({ dir, digest }: TaskPackage, withImages: boolean): Promise<PackageFile[]> {
  const indexBytes = await readWhole(join(dir, INDEX_FILE), MAX_JSON);
  const index = parse(indexSchema, indexBytes, join(dir, INDEX_FILE));
  const blobs = new Map<string, Buffer>();
  const add = async (descriptor: Descriptor, limit: number): Promise<Buffer> => {
    const bytes = blobs.get(descriptor.digest) ?? (await readBlob(dir, descriptor, limit));
    blobs.set(descriptor.digest, bytes);
    return bytes;
  };
  const wanted = index.manifests.filter((one) => one.digest === digest || one.artifactType === SIGNATURE_TYPE);
  for (const reference of wanted) {
    const where = `an OCI manifest in ${dir}`;
    const { config, layers } = parse(filesSchema, await add(reference, MAX_JSON), where);
    await add(config, MAX_JSON);
    // The layers of the package are its images, those of a signature its bundle.
    if (!withImages && reference.digest === digest) continue;
    for (const layer of layers) await add(layer, MAX_IMAGE);
  }
  return [
    { path: LAYOUT_FILE, bytes: await readWhole(join(dir, LAYOUT_FILE), MAX_JSON) },
    { path: INDEX_FILE, bytes: indexBytes },
    ...[...blobs].map(([name, bytes]) => ({ path: `blobs/${name.replace(':', '/')}`, bytes })),
  ];
}

/**
 * The image for an architecture, hashed again now.
 * @throws KerbError WrongArchitecture when the package has none, TaskPackageDigestMismatch, BadTaskPackage
 */
export async function readImage(taskPackage: TaskPackage, architecture: string): Promise<Buffer> {
  return await readBlob(taskPackage.dir, imageFor(taskPackage, architecture), MAX_IMAGE);
}

/** @throws KerbError WrongArchitecture */
export function imageFor(taskPackage: TaskPackage, architecture: string): TaskPackage['images'][number] {
  const image = taskPackage.images.find((candidate) => candidate.architecture === architecture);
  if (image !== undefined) return image;
  const { name, version } = taskPackage.config;
  const has = taskPackage.images.map((candidate) => candidate.architecture).join(', ');
  throw new KerbError(
    ErrorCode.WrongArchitecture,
    `task ${name} ${version} has no image for ${architecture}, only for ${has}; build it on or for ${architecture}`,
    { dir: taskPackage.dir, architecture, has },
  );
}

function parseConfig(bytes: Buffer, dir: string): TaskConfig {
  const where = `the task's manifest in ${dir}`;
  const value = parseJson(bytes, where);
  const version =
    typeof value === 'object' && value !== null && 'schemaVersion' in value ? value.schemaVersion : undefined;
  if (Number.isInteger(version) && version !== CONFIG_SCHEMA_VERSION) {
    throw bad(`${where} has schema version ${version}; this program reads ${CONFIG_SCHEMA_VERSION}; update it`, {
      dir,
    });
  }
  const config = check(configSchema, value, where);
  checkState(config, where);
  return config;
}

/** The notes are what the tender goes by; a manifest that says otherwise would only mislead. */
function checkNotes(image: Buffer, architecture: string, config: TaskConfig, dir: string): void {
  const notes = readImageNotes(image, `the image for ${architecture} in ${dir}`);
  const expected = { ...notes, architecture };
  for (const key of ['name', 'abiVersion', 'memory', 'maxInput', 'maxOutput'] as const) {
    if (expected[key] === config[key]) continue;
    throw bad(`the task's manifest in ${dir} says ${key} ${config[key]}, the notes of its image say ${expected[key]}`, {
      dir,
    });
  }
  if (notes.architecture !== architecture) {
    throw bad(`${dir} lists an image for ${architecture} that is for ${notes.architecture}`, { dir });
  }
}

async function readBlob(dir: string, { digest, size }: Descriptor, limit: number): Promise<Buffer> {
  // The schema has checked that a digest is "sha256:" and hexadecimal digits: it cannot lead out of the directory.
  const path = join(dir, 'blobs', ...digest.split(':'));
  if (size > limit) throw tooLarge(`${path} is announced with ${size} bytes; the limit is ${limit}`, { path });
  const bytes = await readWhole(path, limit, size);
  const actual = digestOf(bytes);
  if (actual === digest) return bytes;
  throw new KerbError(
    ErrorCode.TaskPackageDigestMismatch,
    `${path} is damaged or was changed: its bytes have the digest ${actual}; fetch or build the package again`,
    { path, expected: digest, actual },
  );
}

/** All of a regular file of at most `limit` bytes, and of exactly `size` where that is given. */
async function readWhole(path: string, limit: number, size?: number): Promise<Buffer> {
  // A FIFO or a device must neither block nor feed us without end: no waiting in open, and regular files only.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK).catch((error: unknown) => {
    const why = isErrno(error, 'ENOENT') ? 'is missing' : `cannot be read: ${readFault(error)}`;
    throw bad(`${path} ${why}; a task package is made by \`kerb task build\``, { path }, error);
  });
  try {
    const stat = await file.stat();
    if (!stat.isFile()) throw bad(`${path} is not a regular file`, { path });
    if (stat.size > limit) throw tooLarge(`${path} has ${stat.size} bytes; the limit is ${limit}`, { path });
    if (size !== undefined && stat.size !== size) {
      throw new KerbError(
        ErrorCode.TaskPackageDigestMismatch,
        `${path} has ${stat.size} bytes instead of the ${size} announced; fetch or build the package again`,
        { path, expected: size, actual: stat.size },
      );
    }
    const bytes = Buffer.alloc(stat.size);
    let at = 0;
    while (at < bytes.length) {
      const { bytesRead } = await file.read(bytes, at, bytes.length - at, at);
      if (bytesRead === 0) throw bad(`${path} became shorter while it was read`, { path });
      at += bytesRead;
    }
    return bytes;
  } finally {
    await file.close();
  }
}

function parse<T>(schema: z.ZodType<T>, bytes: Buffer, where: string): T {
  return check(schema, parseJson(bytes, where), where);
}

function parseJson(bytes: Buffer, where: string): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch (error) {
    throw bad(`${where} is not valid JSON: ${messageOf(error)}`, { where }, error);
  }
}

function check<T>(schema: z.ZodType<T>, value: unknown, where: string): T {
  const result = schema.safeParse(value, { error: plainIssue });
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  throw bad(`${where} is not as it must be: ${issue.path.join('.') || 'the whole'}: ${issue.message}`, { where });
}

function tooLarge(message: string, context: Record<string, unknown>): KerbError {
  return new KerbError(ErrorCode.TaskTooLarge, message, context);
}

function bad(message: string, context: Record<string, unknown>, cause?: unknown): KerbError {
  return new KerbError(ErrorCode.BadTaskPackage, message, context, cause === undefined ? undefined : { cause });
}
