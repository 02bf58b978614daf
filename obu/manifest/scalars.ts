/** Prepares each value of a manifest for its schema. */
import { type EachScalar, nearest } from '../../shared/yaml/yaml.ts';
import { interpolate } from './interpolate.ts';
import { numberFault, textFault } from './numbers.ts';

/** Bare numbers have to keep their digits, and variables are what Compose makes of them. */
export const manifestScalar: EachScalar = ({ path, plain, value }) => {
  if (plain !== undefined && (typeof value === 'number' || typeof value === 'bigint')) {
    const fault = numberFault(plain, value);
    return fault === undefined ? undefined : { fault };
  }
  if (typeof value !== 'string') return undefined;
  const fault = plain === undefined ? undefined : textFault(plain);
  if (fault !== undefined) return { fault };
  const result = interpolate(value);
  if ('fault' in result) return result;
  if (result.text === value) return undefined;
  return { value: isTyped(path) ? typed(result.text) : result.text };
};

/** The same for a manifest that was taken before these rules were: what it breaks of them stays as it is written. */
export const storedScalar: EachScalar = (scalar) => {
  const answer = manifestScalar(scalar);
  return answer !== undefined && 'fault' in answer ? undefined : answer;
};

const typedKeys = ['init', 'read_only', 'pids_limit', 'priority'];

/**
 * Where a schema takes a number or a boolean only, a variable may stand for one; elsewhere it is a text, as with
 * Compose.
 */
function isTyped([, , ...path]: readonly PropertyKey[]): boolean {
  const key = path.at(-1);
  if (path[0] === 'ulimits') return true;
  if (path[0] === 'healthcheck') return key === 'retries' || key === 'disable';
  return typedKeys.includes(String(key)) && (path.length === 1 || (path.length === 2 && path[0] === 'x-obu'));
}

function typed(text: string): unknown {
  if (/^(true|false)$/i.test(text)) return text.toLowerCase() === 'true';
  return /^-?(0|[1-9]\d{0,14})$/.test(text) ? Number(text) : text;
}

/** Keys that begin with `x-` are for people and other programs, as with Compose; those like `x-obu` are not. */
export function withoutExtensions(manifest: unknown): unknown {
  if (!isMap(manifest)) return manifest;
  const { services } = manifest;
  if (!isMap(services)) return withoutForeign(manifest);
  const kept = Object.entries(services).map(([name, service]) => [
    name,
    isMap(service) ? withoutForeign(service) : service,
  ]);
  return { ...withoutForeign(manifest), services: Object.fromEntries(kept) };
}

function isMap(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

function withoutForeign(map: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(map).filter(([key]) => !key.startsWith('x-') || isLikeOurs(key)));
}

/** A typo of our own key must not switch off what it says. */
function isLikeOurs(key: string): boolean {
  return nearest(key, ['x-obu']) !== undefined;
}
