import { expect, it } from 'vitest';
import { CONNECT_BURST, CONNECTS_PER_SECOND, ConnectLimit } from './connect-limit.ts';

function taken(limit: ConnectLimit, nowMs: number): number {
  let count = 0;
  while (limit.take(nowMs)) count++;
  return count;
}

it('lets a burst through, then so many each second, and never saves up more than a burst', () => {
  const limit = new ConnectLimit();
  expect(taken(limit, 1000)).toBe(CONNECT_BURST);
  expect(taken(limit, 1000)).toBe(0);
  expect(taken(limit, 2000)).toBe(CONNECTS_PER_SECOND);
  expect(taken(limit, 2050)).toBe(0);
  expect(taken(limit, 2100)).toBe(CONNECTS_PER_SECOND / 10);
  expect(taken(limit, 3_600_000)).toBe(CONNECT_BURST);
});
