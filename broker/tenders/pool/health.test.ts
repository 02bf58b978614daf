import { expect, test } from 'vitest';
import { afterFailure, afterStarvation, blockedUntil, type Health, QUARANTINE_AFTER, WELL } from './health.ts';

const fail = (times: number, health: Health = WELL, now = 0) => {
  for (let i = 0; i < times; i++) health = afterFailure(health, now);
  return health;
};

test('each failure in a row makes the wait longer; a well package waits for nothing', () => {
  expect(blockedUntil(WELL)).toBe(Number.NEGATIVE_INFINITY);
  const waits = [1, 2, 3, 4].map((times) => blockedUntil(fail(times, WELL, 1000)) - 1000);
  expect(waits).toEqual([50, 100, 200, 400]);
});

test('the fifth within a minute puts it into quarantine; each failed try after one makes the next longer, up to a limit', () => {
  expect(fail(QUARANTINE_AFTER - 1).state).toBe('backing-off');
  let health = fail(QUARANTINE_AFTER);
  const waits: number[] = [];
  for (let now = 0; waits.length < 8; now = blockedUntil(health), health = afterFailure(health, now)) {
    expect(health.state).toBe('quarantined');
    waits.push(blockedUntil(health) - now);
  }
  expect(waits).toEqual([10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000, 300_000]);
});

test('failures that lie more than a minute apart are forgotten', () => {
  let health: Health = WELL;
  for (let now = 0; now < 100 * 61_000; now += 61_000) {
    health = afterFailure(health, now);
    expect(blockedUntil(health) - now).toBe(50);
  }
});

test('tenders that got no processor put nothing into quarantine, however many, and the next one waits a moment', () => {
  let health: Health = WELL;
  for (let i = 0; i < 100; i++) health = afterStarvation(health, i);
  expect(health.state).toBe('backing-off');
  expect(blockedUntil(health)).toBe(99 + 1_000);
  // Nor do they make what comes after them worse.
  expect(blockedUntil(afterFailure(health, 200)) - 200).toBe(50);
});

test('failures around one that got no processor count as ever', () => {
  const health = fail(1, afterStarvation(fail(QUARANTINE_AFTER - 1), 0));
  expect(health.state).toBe('quarantined');
});

test('one that is tried after a quarantine and gets no processor is tried again soon, still as the only one', () => {
  const before = fail(QUARANTINE_AFTER);
  const health = afterStarvation(before, 10_000);
  expect(health).toMatchObject({ state: 'quarantined', times: 1, until: 11_000 });
  expect(blockedUntil(afterFailure(health, 11_000)) - 11_000).toBe(20_000);
});
