import { z } from 'zod';

/** Kinds of places that a broker may be. */
const BROKER_KINDS = ['roadside', 'cell', 'cloud', 'vehicle'] as const;

export const id = z
  .string('must be an id')
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/, 'an id has 1 to 63 letters, digits, ".", "_" and "-"');

export const broker = z.strictObject({
  id,
  url: z.string('must be a URL').regex(/^https:\/\/[^\s/]+\/?$/, 'must be https://HOST:PORT'),
  kind: z.enum(BROKER_KINDS, 'must be roadside, cell, cloud or vehicle').optional(),
  cost: z.number('must be a number').min(0, 'must be at least 0').max(1_000_000, 'must be at most 1000000').optional(),
});

export type NamedBroker = Readonly<z.infer<typeof broker>>;
