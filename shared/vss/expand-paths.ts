import { ErrorCode, KerbError } from '../base/errors.ts';

/**
 * The leaves that were asked for. A path names a leaf, or a branch and so its whole subtree; `*` stands for exactly
 * one level, and what it meets may be a branch as well: `Vehicle.Cabin.Door.*.DriverSide` is a subtree of each row.
 * @param all every leaf there is
 * @returns each leaf once, in the order of `all`
 * @throws KerbError UnknownSignal for a path that names nothing
 */
export function expandPaths(asked: readonly string[], all: readonly string[]): string[] {
  const wanted = new Set<string>();
  for (const path of asked) {
    const matches = pathMatcher(path);
    let found = false;
    for (const leaf of all) {
      if (!matches(leaf)) continue;
      wanted.add(leaf);
      found = true;
    }
    if (!found) {
      throw new KerbError(
        ErrorCode.UnknownSignal,
        `there is no signal ${path}; kerb get signals lists those of this vehicle`,
        { path },
      );
    }
  }
  return all.filter((leaf) => wanted.has(leaf));
}

/** Whether a leaf is what the path names: the leaf itself, or in the subtree of the branch. `*` is one level. */
export function pathMatcher(path: string): (leaf: string) => boolean {
  const parts = path.split('.');
  if (!parts.includes('*')) return (leaf) => leaf === path || leaf.startsWith(`${path}.`);
  return (leaf) => {
    const levels = leaf.split('.');
    return levels.length >= parts.length && parts.every((part, i) => part === '*' || part === levels[i]);
  };
}
