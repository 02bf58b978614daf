import { expect, it } from 'vitest';
import { SteadyClock } from './steady-clock.ts';

const YEAR = 365 * 86_400_000;

it.each([10 * YEAR, -10 * YEAR])('a wall clock that jumps by %d ms moves nothing', (jump) => {
  let wall = 1_700_000_000_000;
  let passed = 5000;
  const clock = new SteadyClock(
    () => wall,
    () => passed,
  );
  expect(clock.now()).toBe(1_700_000_000_000);
  expect(clock.atOf('a', wall - 300)).toBe(clock.now() - 300);
  passed += 1000;
  wall += 1000 + jump;
  expect(clock.now()).toBe(1_700_000_001_000);
  // Seen before the jump: 1.3 s ago, whatever the wall clock says now.
  expect(clock.atOf('a', 1_700_000_000_000 - 300)).toBe(clock.now() - 1300);
  // Started after it.
  expect(clock.atOf('a', wall - 20)).toBe(clock.now() - 20);
  expect(clock.atOf('a', 0)).toBe(0);
  expect(clock.atOf('a', wall + 500)).toBe(clock.now());
});

it('forgets what is gone, and does not grow', () => {
  let wall = 1000;
  const clock = new SteadyClock(
    () => wall,
    () => 0,
  );
  expect(clock.atOf('a', 900)).toBe(900);
  wall = 5000;
  expect(clock.atOf('a', 900)).toBe(900);
  clock.forget('a');
  expect(clock.atOf('a', 900)).toBe(1000 - 4100);
  for (let i = 1; i < 100; i++) clock.atOf('a', i);
});
