/**
 * What a path in a request means, by the rules of Kuksa's databroker (doc/wildcard_matching.md): nothing is everything;
 * a path without an asterisk is a signal, or all signals below a branch. With asterisks the whole path has to fit the
 * signal: `*` is any one level, `**` in front of something is any number of levels and none, `**` at the end is one
 * level or more. An asterisk within a name stands for any characters of that name.
 */
import { ErrorCode, KerbError } from '../../../shared/base/errors.ts';
import { pathMatcher } from '../../../shared/vss/expand-paths.ts';

/** One level: a name, or one with asterisks in it. */
const level = /^[^.\s:]+$/;

/**
 * @returns whether a signal is meant
 * @throws KerbError BadGatewayRequest when it is neither a path nor a pattern
 */
export function wildcardMatcher(pattern: string): (leaf: string) => boolean {
  if (pattern === '') return () => true;
  const levels = pattern.split('.');
  const bad = levels.find((one) => !level.test(one) || (one.includes('**') && one !== '**'));
  if (bad !== undefined) {
    const message = `"${pattern}" is not a path: its levels are names, * or **, with dots between them`;
    throw new KerbError(ErrorCode.BadGatewayRequest, message, { path: pattern });
  }
  if (!pattern.includes('*')) return pathMatcher(pattern);
  // Several ** in a row are one, so that no pattern takes longer than its names and the depth of the tree.
  const parts = levels.filter((one, i) => one !== '**' || levels[i - 1] !== '**').map(levelMatcher);
  const least = parts.filter((part) => part !== undefined).length + (parts.at(-1) === undefined ? 1 : 0);
  return (leaf) => {
    const names = leaf.split('.');
    return names.length >= least && fits(parts, names);
  };
}

type LevelMatcher = (name: string) => boolean;

/** Undefined for `**`. */
function levelMatcher(part: string): LevelMatcher | undefined {
  if (part === '**') return undefined;
  if (part === '*') return () => true;
  if (!part.includes('*')) return (name) => name === part;
  const pieces = part.split('*');
  const [first, last] = [pieces[0]!, pieces.at(-1)!];
  return (name) => {
    if (name.length < first.length + last.length || !name.startsWith(first) || !name.endsWith(last)) return false;
    let at = first.length;
    for (const piece of pieces.slice(1, -1)) {
      const found = name.indexOf(piece, at);
      if (found < 0 || found + piece.length > name.length - last.length) return false;
      at = found + piece.length;
    }
    return true;
  };
}

/** Works out part by part behind how many names the pattern can be: no way is tried twice. */
function fits(parts: readonly (LevelMatcher | undefined)[], names: readonly string[]): boolean {
  let reached = new Array<boolean>(names.length + 1).fill(false);
  reached[0] = true;
  for (const [i, matches] of parts.entries()) {
    const next = new Array<boolean>(names.length + 1).fill(false);
    const isLast = i === parts.length - 1;
    for (let at = 0; at <= names.length; at++) {
      if (!reached[at]) continue;
      if (matches !== undefined) {
        if (at < names.length && matches(names[at]!)) next[at + 1] = true;
        continue;
      }
      for (let end = at + (isLast ? 1 : 0); end <= names.length; end++) next[end] = true;
    }
    reached = next;
  }
  return reached[names.length]!;
}
