import { ErrorCode, KerbError } from '../base/errors.ts';

/** A whole number of a query, or `fallback` when it is not there. @throws KerbError BadControlRequest */
export function wholeNumber<Default>(query: URLSearchParams, name: string, fallback: Default): number | Default {
  const text = query.get(name);
  if (text === null) return fallback;
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new KerbError(ErrorCode.BadControlRequest, `${name}=${text.slice(0, 50)}: a whole number is needed`);
}

/** Reads `follow` of a query: whether the answer continues with new entries. @throws KerbError BadControlRequest */
export function isFollowed(query: URLSearchParams): boolean {
  const text = query.get('follow') ?? '0';
  if (text === '0' || text === '1') return text === '1';
  throw new KerbError(ErrorCode.BadControlRequest, `follow=${text.slice(0, 50)}: 0 or 1 is needed`);
}
