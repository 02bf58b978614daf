import { expect, it } from 'vitest';
import { EventLog } from './event-log.ts';

const texts = (log: EventLog, after?: number, name?: string) => log.list(after, name).map(({ message }) => message);

it('keeps what happened, by name and from an id on', () => {
  const log = new EventLog();
  log.add('workload', 'a', 'Running', 'one');
  log.add('bus', 'can0', 'Down', 'two');
  log.add('workload', 'a', 'Failed', 'three');
  expect(texts(log)).toEqual(['one', 'two', 'three']);
  expect(texts(log, 1)).toEqual(['two', 'three']);
  expect(texts(log, 0, 'a')).toEqual(['one', 'three']);
  expect(log.list()[1]).toMatchObject({ id: 2, kind: 'bus', name: 'can0', word: 'Down', repeats: 0 });
});

it('counts what repeats itself instead of keeping it again', () => {
  const log = new EventLog();
  for (let i = 0; i < 5; i++) {
    log.add('refusal', 'a', 'NotGranted', 'no');
    log.add('refusal', 'b', 'NotGranted', 'no');
  }
  expect(log.list().map(({ name, repeats }) => [name, repeats])).toEqual([
    ['a', 4],
    ['b', 4],
  ]);
});

it('is bounded, and a name that floods it pushes out only its own', () => {
  const log = new EventLog();
  log.add('workload', 'quiet', 'Running', 'once');
  for (let i = 0; i < 5000; i++) log.add('refusal', 'loud', 'NotGranted', `no ${i}`);
  expect(texts(log, 0, 'quiet')).toEqual(['once']);
  expect(texts(log, 0, 'loud')).toHaveLength(100);
  for (let i = 0; i < 5000; i++) log.add('bus', `bus${i}`, 'Up', '');
  expect(log.list()).toHaveLength(1000);
  expect(log.list().at(-1)!.id).toBe(10_001);
});

it('is followed from what is kept on, and let go', async () => {
  const log = new EventLog();
  log.add('workload', 'a', 'Running', 'before');
  const stop = new AbortController();
  const seen: string[] = [];
  const following = (async () => {
    for await (const { message } of log.follow(0, 'a', stop.signal)) {
      seen.push(message);
      if (seen.length === 1) setImmediate(() => log.add('workload', 'a', 'Failed', 'after'));
      if (seen.length === 2) stop.abort();
    }
  })();
  log.add('workload', 'b', 'Running', 'another');
  await following;
  expect(seen).toEqual(['before', 'after']);
});

it('keeps no more for a follower that does not read than for itself and a little more', async () => {
  const log = new EventLog();
  const stop = new AbortController();
  const follower = log.follow(0, undefined, stop.signal);
  log.add('bus', 'can0', 'Up', 'first');
  expect((await follower.next()).value).toMatchObject({ id: 1 });
  for (let i = 0; i < 5000; i++) log.add('bus', `bus${i}`, 'Up', '');
  expect((await follower.next()).value!.id).toBe(5001 - 1200 + 1);
  stop.abort();
  expect((await follower.next()).done).toBe(true);
});
