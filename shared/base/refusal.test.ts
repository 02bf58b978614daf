import { expect, it } from 'vitest';
import { ErrorCode, KerbError } from './errors.ts';
import { refusal, refusalFrom, refusalOf } from './refusal.ts';

it('fills in what a peer left out', () => {
  expect(refusalFrom({})).toEqual({ code: 0, message: '', retryAfterMs: 0 });
  expect(refusalFrom({ code: null, message: null, retryAfterMs: null })).toEqual(refusalFrom({}));
  const whole = { code: 65_000, message: 'of a newer version', retryAfterMs: 5 };
  expect(refusalFrom(whole)).toEqual(whole);
});

it('is made of an error, with its hint when that is one', () => {
  const of = (retryAfterMs?: unknown) => refusalOf(new KerbError(ErrorCode.QueueFull, 'full', { retryAfterMs }));
  expect(of()).toEqual(refusal(ErrorCode.QueueFull, 'full'));
  expect(of(2.1)).toEqual({ code: ErrorCode.QueueFull, message: 'full', retryAfterMs: 3 });
  for (const bad of [0, -1, Number.NaN, Number.POSITIVE_INFINITY, 'soon', null, {}]) {
    expect(of(bad).retryAfterMs).toBe(0);
  }
});
