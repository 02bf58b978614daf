/**
 * Versions of tasks and ranges of them. A version is "1.2.3", with fewer numbers ("1" is 1.0.0) or a pre-release behind a
 * hyphen; one of any other form has no order and fits only itself.
 *
 * A range is a version, which only that version fits, or `^1.2`, `~1.2`, `>=1.2`, `1.x`, `*` as npm has them; empty: any.
 * A pre-release fits a range only when it is named.
 */
interface Version {
  readonly numbers: readonly [number, number, number];
  /** Empty for a release. */
  readonly pre: string;
}

const VERSION = /^v?(\d{1,9})(?:\.(\d{1,9}))?(?:\.(\d{1,9}))?(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?$/;
const RANGE = /^(\^|~|>=)(.+)$/;
const WILDCARD = /^(\d{1,9})(?:\.(\d{1,9}))?\.[x*]$/;
const PLAIN = /^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$/;

export function isVersionRange(text: string): boolean {
  if (text === '' || text === '*' || WILDCARD.test(text)) return true;
  const operand = RANGE.exec(text)?.[2];
  return operand === undefined ? PLAIN.test(text) : VERSION.test(operand);
}

export function fitsRange(version: string, range: string): boolean {
  if (range === version) return true;
  const found = parse(version);
  if (range === '' || range === '*') return found === undefined || found.pre === '';
  if (found === undefined || found.pre !== '') return false;
  const [major, minor, patch] = found.numbers;
  const wildcard = WILDCARD.exec(range);
  if (wildcard !== null) {
    return major === Number(wildcard[1]) && (wildcard[2] === undefined || minor === Number(wildcard[2]));
  }
  const [, operator, operand = ''] = RANGE.exec(range) ?? [];
  const least = parse(operand);
  if (operator === undefined || least === undefined || compare(found, least) < 0) return false;
  if (operator === '>=') return true;
  const [leastMajor, leastMinor, leastPatch] = least.numbers;
  if (major !== leastMajor) return false;
  // "~1" stays in 1, "~1.2" in 1.2.
  if (operator === '~') return !operand.includes('.') || minor === leastMinor;
  // The first number that is not 0 stays: "^0.2" is 0.2, "^0.0.3" is 0.0.3 and "^0" all of 0.
  if (major > 0 || !operand.includes('.')) return true;
  if (minor !== leastMinor) return false;
  return minor > 0 || operand.split('.').length < 3 || patch === leastPatch;
}

/** For sorting, the oldest first. Versions without an order come before all others. */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [parse(a), parse(b)];
  if (left !== undefined && right !== undefined) return compare(left, right);
  if (left === undefined && right === undefined) return a < b ? -1 : Number(a > b);
  return left === undefined ? -1 : 1;
}

function parse(text: string): Version | undefined {
  const match = VERSION.exec(text);
  if (match === null) return undefined;
  return { numbers: [Number(match[1]), Number(match[2] ?? 0), Number(match[3] ?? 0)], pre: match[4] ?? '' };
}

function compare(a: Version, b: Version): number {
  for (const [i, number] of a.numbers.entries()) {
    const difference = number - b.numbers[i]!;
    if (difference !== 0) return difference;
  }
  if (a.pre === b.pre) return 0;
  // A release is newer than each of its pre-releases.
  if (a.pre === '') return 1;
  if (b.pre === '') return -1;
  return comparePre(a.pre.split('.'), b.pre.split('.'));
}

/** https://semver.org/#spec-item-11 */
function comparePre(a: readonly string[], b: readonly string[]): number {
  for (let i = 0; i < Math.max(a.length, b.length); i++) {
    const [left, right] = [a[i], b[i]];
    if (left === undefined) return -1;
    if (right === undefined) return 1;
    if (left === right) continue;
    const [isLeft, isRight] = [/^\d+$/.test(left), /^\d+$/.test(right)];
    if (isLeft && isRight) return Number(left) - Number(right);
    if (isLeft !== isRight) return isLeft ? -1 : 1;
    return left < right ? -1 : 1;
  }
  return 0;
}
