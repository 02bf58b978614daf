/** What a schema finds wrong in a value, where it has no sentence of its own, in the words of who wrote the value. */

/** The parts of an issue of zod that are looked at; which of them are there depends on its code. */
export interface SchemaIssue {
  readonly code?: string | undefined;
  readonly expected?: unknown;
  readonly values?: readonly unknown[];
  readonly keys?: readonly string[];
  /** What has a size: "string", "array", "number" … */
  readonly origin?: unknown;
  readonly minimum?: unknown;
  readonly maximum?: unknown;
  readonly inclusive?: boolean | undefined;
  readonly divisor?: unknown;
}

const kinds: Readonly<Record<string, string>> = {
  object: 'a map',
  record: 'a map',
  map: 'a map',
  array: 'a list',
  tuple: 'a list',
  set: 'a list',
  string: 'a text',
  number: 'a number',
  int: 'a whole number',
  bigint: 'a whole number',
  boolean: 'true or false',
  null: 'empty',
  date: 'a time',
};

/** For `schema.safeParse(value, { error: plainIssue })`: schemas that say something themselves are not asked. */
export function plainIssue(issue: SchemaIssue): string {
  switch (issue.code) {
    case 'invalid_type':
      return `must be ${kinds[String(issue.expected)] ?? 'something else'}`;
    case 'invalid_value': {
      const values = (issue.values ?? []).map(String);
      return values.length === 1 ? `must be ${values[0]}` : `must be one of ${values.join(', ')}`;
    }
    case 'too_small':
      return bound(issue.origin, issue.inclusive === false ? 'more than' : 'at least', issue.minimum);
    case 'too_big':
      return bound(issue.origin, issue.inclusive === false ? 'less than' : 'at most', issue.maximum);
    case 'not_multiple_of':
      return `must be a multiple of ${String(issue.divisor)}`;
    case 'unrecognized_keys':
      return `has ${(issue.keys ?? []).map((key) => `\`${key}\``).join(', ')}, which is not known`;
    default:
      return 'is not valid here';
  }
}

function bound(origin: unknown, how: string, limit: unknown): string {
  if (origin === 'string') return `must have ${how} ${String(limit)} characters`;
  const hasEntries = ['array', 'set', 'map', 'object', 'record'].includes(String(origin));
  return hasEntries ? `must have ${how} ${String(limit)} entries` : `must be ${how} ${String(limit)}`;
}
