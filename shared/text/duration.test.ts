import { describe, expect, it } from 'vitest';
import { ErrorCode } from '../base/errors.ts';
import { formatClock, parseDuration } from './duration.ts';

describe('parseDuration', () => {
  it.each([
    ['500ms', 500],
    ['30s', 30_000],
    ['1m30s', 90_000],
    ['2h', 7_200_000],
    ['0.5s', 500],
  ])('reads %s', (text, ms) => expect(parseDuration(text)).toBe(ms));

  it.each(['', '30', 's', '-3s', '3 s', '1d', '3sx', 'x3s', '1..5s', 'Infinitys'])('refuses %j', (text) =>
    expect(() => parseDuration(text)).toThrow(expect.objectContaining({ code: ErrorCode.BadDuration })),
  );
});

it('formatClock leaves out hours that are not there', () => {
  expect([0, 9_999, 75_000, 4_000_000].map(formatClock)).toEqual(['0:00', '0:09', '1:15', '1:06:40']);
});
