/** The first words of both ends of V2E: their versions and features. */

/** All that this code speaks, ascending. */
export const V2E_VERSIONS: readonly number[] = [1, 2];

/** Names that a request may list in `needs`: not every broker of version 2 does all of them. */
export const V2E_FEATURES = [
  ...(['cancel', 'keep', 'durable', 'dwell', 'receipt', 'describe', 'trace', 'chunks', 'state'] as const),
] as const;

const MAX_LISTED = 64;
const FEATURE = /^[a-z0-9-]{1,32}$/;

export interface Greeting {
  readonly versions: readonly number[];
  readonly features: readonly string[];
}

/** Of a client that does not greet: there was no greeting before version 2. */
const SILENT: Greeting = { versions: [1], features: [] };

/**
 * Reads what a client has put into socket.io's `auth`.
 * @throws Error with a sentence when it is something else than a greeting
 */
export function greetingFrom(auth: unknown): Greeting {
  if (typeof auth !== 'object' || auth === null) return SILENT;
  const { versions, features = [] } = auth as Record<string, unknown>;
  if (versions === undefined) return SILENT;
  const goodVersions =
    Array.isArray(versions) &&
    versions.length > 0 &&
    versions.length <= MAX_LISTED &&
    versions.every((version) => Number.isInteger(version) && version > 0 && version < 2 ** 31);
  if (!goodVersions) throw new Error('its versions are not valid: they must be a list of 1 to 64 numbers');
  const goodFeatures =
    Array.isArray(features) &&
    features.length <= MAX_LISTED &&
    features.every((feature) => typeof feature === 'string' && FEATURE.test(feature));
  if (!goodFeatures) throw new Error('its features are not valid: they must be a list of at most 64 short names');
  return { versions: versions as number[], features: features as string[] };
}

/** The highest version of both; undefined: there is none. */
export function commonVersion(theirs: readonly number[], ours: readonly number[] = V2E_VERSIONS): number | undefined {
  const common = ours.filter((version) => theirs.includes(version));
  return common.length === 0 ? undefined : Math.max(...common);
}
