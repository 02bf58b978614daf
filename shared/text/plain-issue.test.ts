import { expect, it } from 'vitest';
import { z } from 'zod';
import { plainIssue } from './plain-issue.ts';

const said = (schema: z.ZodType, value: unknown) =>
  schema.safeParse(value, { error: plainIssue }).error?.issues.map(({ message }) => message);

it.each([
  [z.object({}), null, 'must be a map'],
  [z.record(z.string(), z.unknown()), 5, 'must be a map'],
  [z.array(z.string()), {}, 'must be a list'],
  [z.string(), 5, 'must be a text'],
  [z.number(), 'x', 'must be a number'],
  [z.number().int(), 1.5, 'must be a whole number'],
  [z.boolean(), 'yes', 'must be true or false'],
  [z.enum(['a', 'b']), 'c', 'must be one of a, b'],
  [z.literal(3), 4, 'must be 3'],
  [z.number().min(2), 1, 'must be at least 2'],
  [z.number().max(2), 3, 'must be at most 2'],
  [z.number().gt(2), 2, 'must be more than 2'],
  [z.string().min(1), '', 'must have at least 1 characters'],
  [z.array(z.string()).max(1), ['a', 'b'], 'must have at most 1 entries'],
  [z.strictObject({}), { a: 1 }, 'has `a`, which is not known'],
  [z.string().regex(/^a$/), 'b', 'is not valid here'],
  [z.union([z.string(), z.number()]), null, 'is not valid here'],
])('a schema without a sentence of its own has one in plain words: %#', (schema, value, sentence) => {
  expect(said(schema, value)).toEqual([sentence]);
});

it('a sentence of the schema itself comes first', () => {
  expect(said(z.string('must be a name'), 5)).toEqual(['must be a name']);
});
