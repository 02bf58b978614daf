/**
 * A bundle: one tar with a manifest and all images that it names, for an OBU without any network. Its entries come in
 * this order and no others do: INDEX (JSON), MANIFEST, IMAGES (what `docker save` gives). The index holds the SHA-256 and
 * the size of the other two, so that nothing of a bundle is used before all of it has been checked.
 */
import { z } from 'zod';

export const INDEX = 'kerbside-bundle.json';
export const MANIFEST = 'manifest.yaml';
export const IMAGES = 'images.tar';

export const FORMAT = 1;
/** Bytes. */
export const MAX_INDEX = 1024 * 1024;

const part = z.strictObject({ sha256: z.string().regex(/^[0-9a-f]{64}$/), bytes: z.number().int().min(1) });

export const indexSchema = z.strictObject({
  format: z.literal(FORMAT),
  /** As the engine writes it, "amd64". */
  architecture: z.string().min(1),
  /** Name of the manifest's file. */
  file: z.string().min(1).max(255),
  /** Names in the manifest → ids on the engine that the bundle was made with. */
  images: z.record(z.string(), z.string()),
  [MANIFEST]: part,
  [IMAGES]: part,
});

export type BundleIndex = z.infer<typeof indexSchema>;
