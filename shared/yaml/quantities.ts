/** Numbers as people write them in configuration files, with the same as JSON schema. */
import { z } from 'zod';
import { parseDuration } from '../text/duration.ts';
import { parseSize } from '../text/size.ts';
import { refuse, value } from './value.ts';

const sizePattern = '^\\d+(\\.\\d+)? ?([bB]|[kKmMgG][bB]?)?$';

/** Bytes. */
export function size(least: number, whyLeast: string) {
  const json = {
    anyOf: [
      { type: 'string', pattern: sizePattern },
      { type: 'integer', minimum: least },
    ],
  };
  return value<number>(json, (raw) => {
    const bytes = typeof raw === 'string' || typeof raw === 'number' ? parseSize(raw) : undefined;
    if (bytes === undefined) return refuse('must be a size such as 256m, 1gb or a number of bytes');
    return bytes < least ? refuse(whyLeast) : bytes;
  });
}

/** Milliseconds. */
export function duration(leastMs: number, mostMs: number, range: string) {
  return value<number>({ type: 'string', pattern: '^(\\d+(\\.\\d+)?(ms|s|m|h))+$' }, (raw) => {
    let ms: number;
    try {
      ms = parseDuration(String(raw));
    } catch {
      return refuse('must be a duration such as 500ms, 30s or 1m30s');
    }
    return ms < leastMs || ms > mostMs ? refuse(`must be ${range}`) : ms;
  });
}

export function count(least: number, most: number, what: string) {
  const sentence = `must be ${what}, a whole number of ${least.toLocaleString('en')} to ${most.toLocaleString('en')}`;
  return z.number(sentence).int(sentence).min(least, sentence).max(most, sentence);
}
