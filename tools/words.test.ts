import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { sourceFiles } from './source-graph.ts';
import { splitSource, type TextPart } from './source-text.ts';

// The words of the project (CONTRIBUTING.md, docs/glossary.md) as a test: patterns in tools/word-debts.json that messages,
// identifiers and comments avoid, each with the number of places that are left. The numbers only shrink: one more place
// fails, and so does one less, until its number is lowered.

interface Rule {
  readonly pattern: string;
  readonly why: string;
  readonly use: string;
  readonly left: number;
}

interface Place {
  readonly where: string;
  readonly text: string;
}

const KINDS = ['messages', 'firstWords', 'logLines', 'identifiers', 'comments'] as const;
type Kind = (typeof KINDS)[number];
type Texts = Readonly<Record<Kind, readonly Place[]>>;

const top = join(import.meta.dirname, '..');
const debts: Record<Kind, readonly Rule[]> = JSON.parse(
  readFileSync(join(import.meta.dirname, 'word-debts.json'), 'utf8'),
);
const isProduct = (path: string) =>
  /^(broker|cli|examples|obu|shared|sim)\//.test(path) && !path.endsWith('.test.ts') && !path.includes('/generated/');
const ERROR_OR_LOG = /(?:\bnew KerbError|[lL]og\.(?:debug|info|warn|error))\(/g;

/** The texts of one file that the rules of each kind look at. */
function textsOf(path: string, source: string): Texts {
  const { strings, comments, code } = splitSource(source);
  const place = (at: number, text: string): Place => ({
    where: `${path}:${source.slice(0, at).split('\n').length}`,
    text: text.replace(/\s*\n[\s/*]*/g, ' '),
  });
  const places = (parts: readonly TextPart[]) => parts.map(({ at, text }) => place(at, text));
  const sentences = strings.filter(({ text }) => /[a-z]+[^a-z]+[a-z]+/i.test(text) && text.includes(' '));
  const said = callsOf(code, strings);
  const isLog = ({ at }: TextPart) => said.logs.has(at);
  return {
    messages: places(sentences),
    firstWords: places(sentences.filter(({ at }) => said.logs.has(at) || said.errors.has(at))),
    logLines: places(strings.filter(isLog)),
    identifiers: [...code.matchAll(/[A-Za-z_$][\w$]*/g)].map(({ index, 0: name }) => place(index, wordsOf(name))),
    comments: comments.map(({ at, text }) => place(at, text.replace(/^\/[/*]+\s*(?:\*\s*)?/, ''))),
  };
}

/** `mayClimb`, `MAY_CLIMB` and `MayClimb` as "may climb". */
function wordsOf(identifier: string): string {
  return identifier
    .replace(/([a-z\d])([A-Z])/g, '$1 $2')
    .replace(/[_$]+/g, ' ')
    .trim()
    .toLowerCase();
}

/** Where the literals begin that are arguments of an error or a log line themselves, not inside of another argument. */
function callsOf(code: string, strings: readonly TextPart[]): { errors: Set<number>; logs: Set<number> } {
  const found = { errors: new Set<number>(), logs: new Set<number>() };
  for (const { index, 0: call } of code.matchAll(ERROR_OR_LOG)) {
    const into = call.startsWith('new') ? found.errors : found.logs;
    let at = index + call.length;
    for (let depth = 1; depth > 0 && at < code.length; at++) {
      const literal = depth === 1 && code[at] === ' ' ? strings.find((one) => one.at === at) : undefined;
      if (literal !== undefined) {
        into.add(at);
        at = literal.end - 1;
      } else if (/[([{]/.test(code[at]!)) depth++;
      else if (/[)\]}]/.test(code[at]!)) depth--;
    }
  }
  return found;
}

/** Each name once, however often it is used: a file that is split has as many as before. */
function distinct(places: readonly Place[]): Place[] {
  return [...new Map(places.map((one) => [one.text, one])).values()];
}

/** The rules whose places are more or fewer than their number says. */
function faultsOf(kind: Kind, rules: readonly Rule[], places: readonly Place[]): string[] {
  return rules.flatMap(({ pattern, why, use, left }) => {
    const regex = new RegExp(pattern, kind === 'firstWords' || pattern.startsWith('^') ? 'u' : 'iu');
    const found = places.filter(({ text }) => regex.test(text));
    if (found.length === left) return [];
    const rule = `${kind}: /${pattern}/ has ${found.length} places, and word-debts.json says ${left}`;
    if (found.length < left) return [`${rule}: lower it`];
    const where = found.slice(0, 100).map(({ where, text }) => `  ${where}: ${text.slice(0, 120)}`);
    return [`${rule} (${why}; use: ${use})`, ...where];
  });
}

describe('words', () => {
  const files = sourceFiles(top).filter(({ path }) => isProduct(path));
  const all = files.map(({ path, text }) => textsOf(path, text));

  it.each(KINDS)('of %s are those of the glossary, or what tools/word-debts.json lists', (kind) => {
    const places = all.flatMap((texts) => texts[kind]);
    expect(places.length).toBeGreaterThan(100);
    expect(faultsOf(kind, debts[kind], kind === 'identifiers' ? distinct(places) : places)).toEqual([]);
  });
});

describe('a forbidden word', () => {
  const rule = (pattern: string, left = 0) => [{ pattern, why: 'so', use: 'other', left }];
  const source = `/** Who goes there. */
const ownDesk = /desk "quoted"/; // \`not a template
log.warn({ path: 'in a field' }, \`lost \${count('not said here')} frames\`);
throw new KerbError(Code.X, \`\${name} is no name\`, { name });
const text = 'a \\' quote is no end';
`;
  const texts = textsOf('x.ts', source);
  const faults = (kind: Kind, pattern: string, left?: number) => faultsOf(kind, rule(pattern, left), texts[kind]);

  it('is found where it stands', () => {
    expect(faults('messages', 'is no ').slice(1)).toEqual([
      '  x.ts:4: {} is no name',
      "  x.ts:5: a \\' quote is no end",
    ]);
    expect(faults('identifiers', '\\bdesk\\b').slice(1)).toEqual(['  x.ts:2: own desk']);
    expect(faults('comments', '^Who\\b').slice(1)).toEqual(['  x.ts:1: Who goes there. */']);
    expect(faults('logLines', '\\{\\}').slice(1)).toEqual(['  x.ts:3: lost {} frames']);
    expect(texts.firstWords.map(({ text }) => text)).toEqual(['lost {} frames', '{} is no name']);
  });

  it('is allowed as often as is listed, and not less often', () => {
    expect(faults('messages', 'is no ', 2)).toEqual([]);
    expect(faults('messages', 'is no ', 3)).toEqual([expect.stringMatching(/has 2 places.*says 3: lower it/)]);
  });
});
