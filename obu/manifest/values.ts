import { constants } from 'node:os';
import { z } from 'zod';
import { Refusal, refuse, value } from '../../shared/yaml/value.ts';

/** Names of workloads, buses, cameras and tasks: they become container names, directories and metric labels. */
export const namePattern = /^[a-z0-9]([a-z0-9_.-]{0,61}[a-z0-9])?$/;
export const nameRule = 'a name has 1 to 63 of a-z, 0-9, "_", "." and "-", and begins and ends with a letter or digit';

export const name = z.string('must be a name').regex(namePattern, nameRule);

/** Smallest `mem_limit` that the Docker Engine accepts, in bytes. */
export const MIN_MEM_LIMIT = 6 * 1024 * 1024;

/** The words that may stand for a priority. */
export const priorityWords: Readonly<Record<string, number>> = { safety: 1000, high: 750, normal: 500, idle: 0 };

export const priority = value<number>(
  {
    anyOf: [{ type: 'integer', minimum: 0, maximum: 1000 }, { enum: Object.keys(priorityWords) }],
    default: 'normal',
  },
  (raw) => {
    const rank = typeof raw === 'string' && Object.hasOwn(priorityWords, raw) ? priorityWords[raw] : raw;
    if (typeof rank !== 'number' || !Number.isInteger(rank) || rank < 0 || rank > 1000) {
      return refuse(`must be a whole number of 0..1000 or one of ${Object.keys(priorityWords).join(', ')}`);
    }
    return rank;
  },
);

const plainTypes = { type: ['string', 'number', 'boolean'] };

/** A program with its arguments, as a list or as one string. */
export const commandLine = value<readonly string[]>(
  {
    anyOf: [
      { type: 'string', pattern: '\\S' },
      { type: 'array', minItems: 1, items: plainTypes },
    ],
  },
  (raw) => {
    const words = typeof raw === 'string' ? splitCommand(raw) : raw;
    if (words === undefined) return refuse('a quote is not closed');
    if (!Array.isArray(words)) return refuse('must be a list of strings or one string');
    const plain = words.map((word) => (['number', 'bigint', 'boolean'].includes(typeof word) ? String(word) : word));
    if (!plain.every((word): word is string => typeof word === 'string'))
      return refuse('must be a list of strings or one string');
    if (plain.length === 0) return refuse('is empty; leave the key out to use what the image says');
    return plain;
  },
);

/** NAME=VALUE pairs, as a list or as a map; sorted by name. @param fault What is wrong with a name. */
export function pairs(
  namePatternSource: string,
  what: string,
  fault: (name: string, item: unknown) => string | undefined,
) {
  const json = {
    anyOf: [
      { type: 'array', items: { type: 'string', pattern: `^${namePatternSource}(=|$)` } },
      { type: 'object', propertyNames: { pattern: `^${namePatternSource}$` }, additionalProperties: plainTypes },
    ],
  };
  return value<Readonly<Record<string, string>>>(json, (raw) => {
    const entries = entriesOf(raw);
    if (entries === undefined) return refuse(`must be a list of ${what}, or a map`);
    const result = new Map<string, string>();
    for (const [one, item] of entries) {
      const wrong = fault(one, item);
      if (wrong !== undefined) return refuse(wrong);
      if (typeof item === 'object') return refuse(`${one} must be a string, a number or a boolean`);
      if (result.has(one)) return refuse(`${one} is set twice`);
      result.set(one, String(item));
    }
    return sortedRecord(result);
  });
}

function entriesOf(raw: unknown): [string, unknown][] | undefined {
  if (!Array.isArray(raw)) return raw !== null && typeof raw === 'object' ? Object.entries(raw) : undefined;
  if (!raw.every((item) => typeof item === 'string')) return undefined;
  return raw.map((item: string) => {
    const equals = item.indexOf('=');
    return equals === -1 ? [item, null] : [item.slice(0, equals), item.slice(equals + 1)];
  });
}

/** Equal maps give equal JSON. */
export function sortedRecord<T>(entries: Iterable<readonly [string, T]>): Readonly<Record<string, T>> {
  return Object.fromEntries([...entries].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** An absolute path in the container that no two spellings name. */
export function absolutePathFault(path: string): string | undefined {
  if (!/^\/[^\0:,]*$/.test(path)) return 'must be an absolute path in the container, without ":" and ","';
  const parts = path.split('/').slice(1);
  return parts.some((part) => part === '' || part === '.' || part === '..')
    ? 'must be a path without "//", "." and "..", and must not end with "/"'
    : undefined;
}

export const absolutePath = value<string>({ type: 'string', pattern: '^/' }, (raw) => {
  if (typeof raw !== 'string') return refuse('must be an absolute path in the container');
  const fault = raw === '/' ? undefined : absolutePathFault(raw);
  return fault === undefined ? raw : refuse(fault);
});

/** The name of a signal, with SIG in front. */
export const signalName = value<string>({ type: 'string', pattern: '^(SIG)?[A-Z0-9]+([+-]\\d+)?$' }, (raw) => {
  const long = String(raw).startsWith('SIG') ? String(raw) : `SIG${String(raw)}`;
  if (Object.hasOwn(constants.signals, long) || /^SIGRT(MIN\+|MAX-)\d{1,2}$/.test(long)) return long;
  return refuse('must be the name of a signal, such as SIGTERM or SIGINT');
});

/** A list of values whose faults are told by their place in the list. */
export function eachOf<Out>(raw: unknown, what: string, parse: (item: unknown) => Out | Refusal): Out[] | Refusal {
  if (!Array.isArray(raw)) return refuse(`must be a list of ${what}`);
  const result: Out[] = [];
  for (const [i, item] of raw.entries()) {
    const one = parse(item);
    if (one instanceof Refusal) return refuse(one.sentence, i, ...one.path);
    result.push(one);
  }
  return result;
}

/**
 * Splits a command line into words as Compose does for a `command` that is one string: blanks separate, quotes and
 * backslashes protect, nothing is expanded. Undefined when a quote is left open.
 */
export function splitCommand(line: string): string[] | undefined {
  const words: string[] = [];
  let word: string | undefined;
  let quote = '';
  for (let i = 0; i < line.length; i++) {
    const char = line[i]!;
    if (quote === "'") {
      if (char === "'") quote = '';
      else word += char;
    } else if (char === '\\' && i + 1 < line.length) {
      const next = line[++i]!;
      // Inside double quotes a backslash protects only what it has to, as in a shell.
      word = (word ?? '') + (quote === '"' && next !== '"' && next !== '\\' ? `\\${next}` : next);
    } else if (quote === '"') {
      if (char === '"') quote = '';
      else word += char;
    } else if (char === '"' || char === "'") {
      quote = char;
      word ??= '';
    } else if (/\s/.test(char)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else {
      word = (word ?? '') + char;
    }
  }
  if (quote !== '') return undefined;
  if (word !== undefined) words.push(word);
  return words;
}
