import { getEventListeners } from 'node:events';
import { expect, it } from 'vitest';
import { newestItems } from './newest-items.ts';

function scene(first?: readonly number[]) {
  const stop = new AbortController();
  const subscribers = new Set<(items: readonly number[]) => void>();
  const items = newestItems<number>(
    {
      subscribe: (push) => {
        subscribers.add(push);
        return () => subscribers.delete(push);
      },
      mostWaiting: 3,
      ...(first && { first }),
    },
    stop.signal,
  );
  const push = (...values: number[]) => {
    for (const subscriber of subscribers) subscriber(values);
  };
  return { stop, items, push, subscribers };
}

it('gives what was there before, then what comes', async () => {
  const { items, push, stop } = scene([1, 2]);
  expect((await items.next()).value).toBe(1);
  push(3);
  expect((await items.next()).value).toBe(2);
  expect((await items.next()).value).toBe(3);
  const next = items.next();
  push(4);
  expect((await next).value).toBe(4);
  stop.abort();
  expect((await items.next()).done).toBe(true);
});

it('drops the oldest of what nobody reads', async () => {
  const { items, push } = scene([0]);
  expect((await items.next()).value).toBe(0);
  push(1, 2);
  push(3, 4, 5);
  expect((await items.next()).value).toBe(3);
});

it('ends when the signal fires while it waits, and leaves nothing behind', async () => {
  const { items, stop, subscribers } = scene();
  const next = items.next();
  expect(subscribers.size).toBe(1);
  stop.abort();
  expect((await next).done).toBe(true);
  expect(subscribers.size).toBe(0);
  expect(getEventListeners(stop.signal, 'abort')).toEqual([]);
});

it('ends its subscription when its reader leaves', async () => {
  const { items, push, subscribers, stop } = scene();
  const next = items.next();
  push(1);
  await next;
  await items.return(undefined);
  expect(subscribers.size).toBe(0);
  expect(getEventListeners(stop.signal, 'abort')).toEqual([]);
});
