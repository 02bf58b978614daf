/**
 * Scopes over signals, in the grammar of Eclipse Kuksa's databroker (doc/authorization.md): `ACTION:PATH`, where a
 * branch means its subtree and `*` one level; `actuate` and `provide` include `read`; `!ACTION:PATH` denies the action
 * and has priority over everything that allows it. What no scope allows is denied.
 */
import { ErrorCode, KerbError } from '../base/errors.ts';
import { pathMatcher } from './expand-paths.ts';

export type SignalAction = 'read' | 'actuate' | 'provide';

/** In JSON it is its text. */
export class SignalScope {
  readonly text: string;
  readonly deny: boolean;
  readonly action: SignalAction;
  readonly path: string;
  readonly #matches: (leaf: string) => boolean;

  constructor(text: string, deny: boolean, action: SignalAction, path: string) {
    this.text = text;
    this.deny = deny;
    this.action = action;
    this.path = path;
    this.#matches = pathMatcher(path);
  }

  /** Whether the leaf is what its path names. */
  matches(leaf: string): boolean {
    return this.#matches(leaf);
  }

  toJSON(): string {
    return this.text;
  }
}

const grammar = /^(!?)(read|actuate|provide):((?:[A-Za-z][A-Za-z0-9_]*|\*)(?:\.(?:[A-Za-z0-9_]+|\*))*)$/;

/** @throws KerbError BadSignalScope */
export function parseScope(text: string): SignalScope {
  const match = grammar.exec(text);
  if (match === null) {
    const message = `"${text}" is not a valid scope: it must be read:, actuate: or provide: and a VSS path, such as "read:Vehicle.Speed"`;
    throw new KerbError(ErrorCode.BadSignalScope, message, { text });
  }
  return new SignalScope(text, match[1] === '!', match[2] as SignalAction, match[3]!);
}

/** Whether the action on this leaf is allowed. */
export type ScopeCheck = (action: SignalAction, leaf: string) => boolean;

/**
 * One check for all scopes of a workload. A denied `read` leaves `actuate` and `provide` as they are: who may set a
 * value need not see it.
 */
export function compileScopes(scopes: readonly SignalScope[]): ScopeCheck {
  const denials = scopes.filter(({ deny }) => deny);
  const allowances = scopes.filter(({ deny }) => !deny);
  return (action, leaf) =>
    allowances.some((rule) => (action === 'read' || rule.action === action) && rule.matches(leaf)) &&
    !denials.some((rule) => rule.action === action && rule.matches(leaf));
}
