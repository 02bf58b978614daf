/**
 * A task package is an OCI image layout (image-spec 1.1): `oci-layout`, `index.json` and `blobs/sha256/…`. The index
 * names one manifest with `ARTIFACT_TYPE`; its config is the task's manifest, its layers are unikernel images, one per
 * architecture. The digest of that OCI manifest names the package.
 *
 * Other manifests in the index are left alone: a signature is one more manifest whose `subject` is this one.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';

export const LAYOUT_FILE = 'oci-layout';
export const LAYOUT_VERSION = '1.0.0';
export const INDEX_FILE = 'index.json';
export const INDEX_TYPE = 'application/vnd.oci.image.index.v1+json';
export const MANIFEST_TYPE = 'application/vnd.oci.image.manifest.v1+json';
export const ARTIFACT_TYPE = 'application/vnd.kerbside.task.v1';
export const CONFIG_TYPE = 'application/vnd.kerbside.task.config.v1+json';
export const IMAGE_TYPE = 'application/vnd.kerbside.unikernel.v1';

/** Of a signature's manifest and its one layer. */
export const SIGNATURE_TYPE = 'application/vnd.dev.sigstore.bundle.v0.3+json';
/** image-spec 1.1, guidance for an empty descriptor: the config of an artifact that has none. */
export const EMPTY_TYPE = 'application/vnd.oci.empty.v1+json';
export const EMPTY_JSON = Buffer.from('{}');

export const CONFIG_SCHEMA_VERSION = 1;

/** Bytes. What is larger is refused before it is read. */
export const MAX_JSON = 1024 * 1024;
export const MAX_SIGNATURES = 16;
export const MAX_BUNDLE = 64 * 1024;
export const MAX_IMAGE = 64 * 1024 * 1024;

/** Bytes: what no task may declare (broker/unikernel/include/kerbside/abi.h, KERB_MAX_…). */
export const DECLARED_LIMITS = {
  memory: 256 * 1024 * 1024,
  maxInput: 64 * 1024 * 1024,
  maxOutput: 64 * 1024 * 1024,
} as const;

const DIGEST = /^sha256:[0-9a-f]{64}$/;
const TASK_NAME = /^[a-z0-9-]{1,63}$/;
const VERSION = /^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$/;

export function isDigest(text: string): boolean {
  return DIGEST.test(text);
}

export function isTaskName(text: string): boolean {
  return TASK_NAME.test(text);
}

export function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

const digest = z.string().regex(DIGEST, 'is not a valid digest: it must be "sha256:" and 64 hexadecimal digits');
const bytes = z.int().min(0);

export const layoutSchema = z.looseObject({ imageLayoutVersion: z.string() });

const descriptorSchema = z.looseObject({ mediaType: z.string(), digest, size: bytes });

export const indexSchema = z.looseObject({
  schemaVersion: z.literal(2),
  mediaType: z.literal(INDEX_TYPE).optional(),
  manifests: z.array(descriptorSchema.extend({ artifactType: z.string().optional() })),
});

export const manifestSchema = z.looseObject({
  schemaVersion: z.literal(2),
  mediaType: z.literal(MANIFEST_TYPE),
  artifactType: z.literal(ARTIFACT_TYPE),
  config: descriptorSchema.extend({ mediaType: z.literal(CONFIG_TYPE) }),
  layers: z.array(descriptorSchema.extend({ mediaType: z.literal(IMAGE_TYPE) })).min(1),
});

export const signatureManifestSchema = z.looseObject({
  schemaVersion: z.literal(2),
  mediaType: z.literal(MANIFEST_TYPE),
  artifactType: z.literal(SIGNATURE_TYPE),
  layers: z.array(descriptorSchema.extend({ mediaType: z.literal(SIGNATURE_TYPE) })).length(1),
  subject: descriptorSchema,
});

/** What every OCI manifest of a package refers to. */
export const filesSchema = z.looseObject({ config: descriptorSchema, layers: z.array(descriptorSchema) });

/** What a task may demand of its tender. `any` takes whatever the broker has. */
export const isolationSchema = z.enum(['any', 'process', 'vm']);
export const versionSchema = z
  .string()
  .regex(VERSION, 'is not a valid version: it must be letters, digits and . _ + -, at most 64');
/** Milliseconds, at most the longest budget. */
export const costSchema = z.number().positive().max(3_600_000);

/** Bytes of the state of a session. */
export const MAX_STATE = 64 * 1024;
/** Bytes of output of a task with state: the broker keeps it beside the state, in the same transaction. */
export const MAX_STATE_OUTPUT = 1024 * 1024;
const MAX_STATE_TTL_MS = 30 * 86_400_000;
/** Of a task that takes the state of a session with its input, and gives the next one with its output: state-frame.ts. */
export const stateSchema = z.strictObject({
  maxBytes: z.int().min(1).max(MAX_STATE),
  /** Milliseconds that it is kept without being written. */
  ttlMs: z.int().min(1000).max(MAX_STATE_TTL_MS).optional(),
});
export type TaskState = z.infer<typeof stateSchema>;

/** The task's manifest. All but `version`, `isolation`, `costMs`, `state` and `images` repeats the notes of the images, and is checked against them. */
export const configSchema = z.strictObject({
  schemaVersion: z.literal(CONFIG_SCHEMA_VERSION),
  name: z.string().regex(TASK_NAME),
  version: versionSchema,
  abiVersion: z.int().min(1),
  memory: bytes,
  maxInput: bytes,
  maxOutput: bytes,
  isolation: isolationSchema,
  /** Milliseconds that a call takes, as its maker expects: what a broker goes by until it knows better. */
  costMs: costSchema.optional(),
  state: stateSchema.optional(),
  /** In the order of the layers. */
  images: z.array(z.strictObject({ architecture: z.string().regex(/^[a-z0-9_]{1,32}$/), digest })).min(1),
});

export type TaskConfig = z.infer<typeof configSchema>;
export type DemandedIsolation = z.infer<typeof isolationSchema>;
export type Descriptor = z.infer<typeof descriptorSchema>;
