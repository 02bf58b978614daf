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
