import { z } from 'zod';

/** Why a value was not taken. A class, so that no value of a person's file can look like one. */
export class Refusal {
  readonly sentence: string;
  /** Path within the value; empty for the value as a whole. */
  readonly path: readonly PropertyKey[];

  constructor(sentence: string, path: readonly PropertyKey[]) {
    this.sentence = sentence;
    this.path = path;
  }
}

export function refuse(sentence: string, ...path: PropertyKey[]): Refusal {
  return new Refusal(sentence, path);
}

/**
 * A value that a function turns into another one or refuses with a sentence.
 * @param json The same for editors, as JSON schema: it may let through what only the function can tell.
 */
export function value<Out>(json: Readonly<Record<string, unknown>>, parse: (value: unknown) => Out | Refusal) {
  return z
    .unknown()
    .transform((raw, context): Out => {
      const result = parse(raw);
      if (!(result instanceof Refusal)) return result;
      context.addIssue({ code: 'custom', message: result.sentence, path: [...result.path] });
      return z.NEVER;
    })
    .meta(json);
}

/** A key that may be left out, with the sentence that editors and the README show. */
export function key<T extends z.ZodType>(description: string, schema: T) {
  return schema.meta({ ...schema.meta(), description }).optional();
}

/** The map that stands at a path of a schema; undefined where none stands. */
export function mapIn(schema: z.ZodType, path: readonly PropertyKey[]): z.ZodObject | undefined {
  let here: z.ZodType | undefined = schema;
  for (const step of path) {
    here = unwrapped(here);
    if (here instanceof z.ZodObject) here = here.shape[String(step)] as z.ZodType | undefined;
    else if (here instanceof z.ZodRecord) here = here.valueType as z.ZodType;
    else if (here instanceof z.ZodArray) here = here.element as z.ZodType;
    else return undefined;
  }
  here = unwrapped(here);
  return here instanceof z.ZodObject ? here : undefined;
}

/** Without `optional`, and a map that is turned into something else as the map. */
export function unwrapped(schema: z.ZodType | undefined): z.ZodType | undefined {
  if (schema instanceof z.ZodOptional) return unwrapped(schema.unwrap() as z.ZodType);
  if (schema instanceof z.ZodPipe) return unwrapped(schema.in as z.ZodType);
  return schema;
}
