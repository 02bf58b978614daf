/**
 * Signal scopes in Kuksa's grammar: `ACTION[:PATH]`. `read`, `actuate` and `provide`; the latter two include reading.
 * A path is a leaf or a branch with all below it, `*` stands for one level; no path is everything. `!` in front denies
 * the action, and what is denied stays so whatever else allows it; `!read` denies the other two as well.
 */
import { ErrorCode, KerbError } from '../../shared/errors.ts';
import { pathMatcher } from './expand-paths.ts';

export const scopeActions = ['read', 'actuate', 'provide'] as const;
export type ScopeAction = (typeof scopeActions)[number];

export interface Scope {
  readonly text: string;
  readonly isDenied: boolean;
  readonly action: ScopeAction;
  /** Undefined: everything. */
  readonly path: string | undefined;
}

const scopePattern = /^(!?)([a-z]+)(?::(.*))?$/;
const pathPattern = /^[A-Za-z]\w*(\.(\w+|\*))*$/;

/** @throws KerbError BadSignalScope */
export function parseScope(text: string): Scope {
  const [, denied, action, path] = scopePattern.exec(text) ?? [];
  const wanted = `${scopeActions.join(', ')}, as in "read:Vehicle.Speed"`;
  if (action === undefined) throw bad(text, `has to begin with one of ${wanted}`);
  if (!isAction(action)) {
    const why = action === 'create' ? ': signals come from the mapping files alone' : '';
    throw bad(text, `has the action "${action}", which does not exist here${why}; there is ${wanted}`);
  }
  if (path !== undefined && !pathPattern.test(path)) {
    throw bad(text, `has no VSS path behind the colon: names with "." between them, or "*" for one level`);
  }
  return { text, isDenied: denied === '!', action, path };
}

export interface Scopes {
  allows(action: ScopeAction, leaf: string): boolean;
  /** The scope that denies, when one does. */
  deniedBy(action: ScopeAction, leaf: string): string | undefined;
}

/** @throws KerbError BadSignalScope */
export function compileScopes(texts: readonly string[]): Scopes {
  const scopes = texts.map((text) => {
    const scope = parseScope(text);
    return { ...scope, matches: scope.path === undefined ? () => true : pathMatcher(scope.path) };
  });
  const allowing = scopes.filter(({ isDenied }) => !isDenied);
  const denying = scopes.filter(({ isDenied }) => isDenied);
  const deniedBy = (action: ScopeAction, leaf: string) =>
    denying.find((scope) => (scope.action === action || scope.action === 'read') && scope.matches(leaf))?.text;
  return {
    deniedBy,
    allows: (action, leaf) =>
      allowing.some((scope) => (scope.action === action || action === 'read') && scope.matches(leaf)) &&
      deniedBy(action, leaf) === undefined,
  };
}

function isAction(action: string): action is ScopeAction {
  return (scopeActions as readonly string[]).includes(action);
}

function bad(text: string, what: string): KerbError {
  return new KerbError(ErrorCode.BadSignalScope, `signal scope "${text}" ${what}`, { scope: text });
}
