import { z } from 'zod';
import { unwrapped } from '../../../shared/yaml/value.ts';
import { manifestSchema } from './schema.ts';

/** The manifest as JSON schema (draft 2020-12), for editors. It may let through what only the parser can tell. */
export function manifestJsonSchema(): Record<string, unknown> {
  return z.toJSONSchema(manifestSchema, { io: 'input', unrepresentable: 'any' }) as Record<string, unknown>;
}

/** A key of a service, dotted, `[]` for each item of a list, with the sentence about it. */
export interface KeyHelp {
  readonly key: string;
  readonly description: string;
}

/** Every key of a service, in the order of the schema. */
export function serviceKeys(): KeyHelp[] {
  return keysOf(manifestSchema.shape.services.valueType, '');
}

function keysOf(schema: z.ZodType | undefined, prefix: string): KeyHelp[] {
  const here = unwrapped(schema);
  if (here instanceof z.ZodArray) return keysOf(here.element as z.ZodType, `${prefix}[]`);
  if (!(here instanceof z.ZodObject)) return [];
  return Object.entries(here.shape as Record<string, z.ZodType>).flatMap(([name, child]) => {
    const key = prefix === '' ? name : `${prefix}.${name}`;
    return [{ key, description: descriptionOf(child) }, ...keysOf(child, key)];
  });
}

function descriptionOf(schema: z.ZodType): string {
  const inner = schema instanceof z.ZodOptional ? (schema.unwrap() as z.ZodType) : schema;
  return inner.meta()?.description ?? '';
}

/** The table of the README. */
export function keyTable(): string {
  const rows = serviceKeys().map(({ key, description }) => `| \`${key}\` | ${description} |`);
  return ['| key of a service | what |', '|---|---|', ...rows].join('\n');
}
