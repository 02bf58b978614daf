/**
 * Every key of a manifest: what it takes, and a sentence about it. The parser, the JSON schema for editors and the
 * table in the README are all made from this.
 */
import { z } from 'zod';
import { key, mapIn } from '../../../shared/yaml/value.ts';
import { namePattern } from '../values.ts';
import { xObu } from './obu-schema.ts';
import { composeKeys } from './service-schema.ts';

const service = z.strictObject(
  { ...composeKeys, 'x-obu': key('what Compose has no words for', xObu) },
  'must be a map with at least `image`',
);

const MAX_SERVICES = 256;

export const manifestSchema = z
  .strictObject(
    {
      services: z
        .record(z.string(), service, 'must be a map of services')
        .refine((services) => Object.keys(services).length > 0, 'names no service')
        .refine((services) => Object.keys(services).length <= MAX_SERVICES, `names more than ${MAX_SERVICES} services`)
        .meta({
          description: 'the workloads, by name',
          minProperties: 1,
          maxProperties: MAX_SERVICES,
          propertyNames: { pattern: namePattern.source },
        }),
    },
    'must be a map with the key `services`',
  )
  .meta({ title: 'Kerbside manifest' });

export type RawManifest = z.infer<typeof manifestSchema>;
export type RawService = z.infer<typeof service>;

/** The map that stands at a path of the manifest; undefined where none stands. */
export function mapAt(path: readonly PropertyKey[]): z.ZodObject | undefined {
  return mapIn(manifestSchema, path);
}
