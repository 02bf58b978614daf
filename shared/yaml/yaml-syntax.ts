/** What a YAML parser finds wrong, in the words of a person who writes the file and not in those of the parser. */
import {
  type Alias,
  type Document,
  isAlias,
  isMap,
  isPair,
  isScalar,
  isSeq,
  type Pair,
  type YAMLError,
  type YAMLMap,
} from 'yaml';

type Path = readonly PropertyKey[];
/** Says what is wrong at an offset of the text; the path is there when it is known. */
export type SayAt = (offset: number, path: Path, message: string) => void;

const NOT_CLOSED = 'something that was opened is not closed, or a separator is missing';

/** By the parser's code; what is not here is "not valid YAML". */
const sentences: Readonly<Record<string, string>> = {
  ALIAS_PROPS: 'an alias (`*name`) cannot have a tag or an anchor of its own',
  BAD_ALIAS: 'the name of an anchor or alias is not valid: it must not be empty or end with ":"',
  BAD_COLLECTION_TYPE: 'this tag does not fit what it stands before; remove it',
  BAD_DIRECTIVE: 'this line that begins with "%" is not a directive of YAML 1.2; remove it',
  BAD_DQ_ESCAPE: 'not a valid escape in a text in double quotes; write a backslash as `\\\\`, or use single quotes',
  BAD_INDENT: 'the indentation does not fit the lines above it',
  BAD_PROP_ORDER: 'an anchor or a tag must come after "-", "?" or ":"',
  BAD_SCALAR_START: 'a value cannot begin with this character; put it in quotes',
  BLOCK_AS_IMPLICIT_KEY: 'a map or list cannot stand here; put it into lines of its own, or put the text in quotes',
  BLOCK_IN_FLOW: 'only the short forms `{…}` and `[…]` can stand inside `{…}` and `[…]`',
  DUPLICATE_KEY: 'the same key is there twice in one map; keys must be unique',
  KEY_OVER_1024_CHARS: 'a key has more than 1,024 characters',
  MISSING_CHAR: 'a quote, bracket, comma, colon or space is missing',
  MULTILINE_IMPLICIT_KEY: 'a key must be in one line; is a ":" or a quote missing?',
  MULTIPLE_ANCHORS: 'a value can have one anchor only',
  MULTIPLE_DOCS: 'a second document begins here (`---`), and a file must have one; put it into a file of its own',
  MULTIPLE_TAGS: 'a value can have one tag only',
  NON_STRING_KEY: 'a key must be a text',
  RESOURCE_EXHAUSTION: 'lists and maps are too deep in one another',
  TAB_AS_INDENT: 'a tab cannot indent a line; use spaces',
  TAG_RESOLVE_FAILED: 'this tag (`!…`) cannot be taken; remove it',
};

/** One sentence about an error or a warning of the parser. */
export function syntaxSentence({ code, message }: Pick<YAMLError, 'code' | 'message'>): string {
  if (code === 'UNEXPECTED_TOKEN') {
    return /end|collection|flow/i.test(message) ? NOT_CLOSED : 'not valid YAML: this cannot stand here';
  }
  if (code === 'BAD_INDENT' && /must be .*and end with/i.test(message)) return NOT_CLOSED;
  return sentences[code] ?? 'not valid YAML';
}

/** Characters that YAML 1.2 (section 5.1) allows nowhere, and a CR that ends a line alone, as no editor shows it. */
const unprintable = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f\ufffe\uffff]|\r(?!\n)/;

/** The first character that may not be in a file of text; undefined when there is none. */
export function findUnprintable(text: string): { readonly offset: number; readonly message: string } | undefined {
  const match = unprintable.exec(text);
  if (match === null) return undefined;
  const code = match[0].charCodeAt(0);
  const name = code === 0x0d ? 'a bare carriage return' : `the control character U+${hex(code)}`;
  const advice =
    code === 0x0d
      ? 'save the file with line ends of Unix or Windows'
      : 'remove it, or write it as an escape in double quotes';
  return { offset: match.index, message: `${name} cannot be in a YAML file; ${advice}` };
}

const hex = (code: number) => code.toString(16).toUpperCase().padStart(4, '0');

/** Visits every value that is not a key, in the order of the file, with its path. Aliases are not followed. */
export function visitValues(document: Document, visit: (node: unknown, path: Path) => void): void {
  const walk = (node: unknown, path: Path): void => {
    visit(node, path);
    if (isSeq(node)) for (const [i, item] of node.items.entries()) walk(isPair(item) ? item.value : item, [...path, i]);
    else if (isMap(node)) for (const { key, value } of node.items) walk(value, [...path, keyOf(key)]);
  };
  walk(document.contents, []);
}

function keyOf(key: unknown): string {
  return String(isScalar(key) ? key.value : key);
}

/** Aliases to nothing, and `<<` of what is not a map: the parser finds them too late to say where they are. */
export function checkReferences(document: Document, say: SayAt): void {
  visitValues(document, (node, path) => {
    if (isAlias(node) && node.resolve(document) === undefined) {
      say(offsetOf(node), path, `\`*${node.source}\` names an anchor (\`&${node.source}\`) that is not above it`);
    }
    if (!isMap(node)) return;
    for (const pair of node.items) {
      if (keyOf(pair.key) === '<<' && !mergesMaps(pair, document)) {
        say(offsetOf(pair.key), [...path, '<<'], '`<<` must be followed by an alias to a map, or a list of them');
      }
    }
  });
}

function mergesMaps({ value }: Pair, document: Document): boolean {
  const resolved = (node: unknown): unknown => (isAlias(node) ? (node as Alias).resolve(document) : node);
  const isMergeable = (node: unknown) => {
    // An alias to nothing is said already.
    const target = resolved(node);
    return target === undefined || isMap(target as YAMLMap);
  };
  const source = resolved(value);
  return isSeq(source) ? source.items.every(isMergeable) : isMergeable(value);
}

function offsetOf(node: unknown): number {
  return (node as { range?: readonly [number, number, number] | null } | null)?.range?.[0] ?? 0;
}
