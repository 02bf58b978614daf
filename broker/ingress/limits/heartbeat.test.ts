import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { type Beating, Heartbeat } from './heartbeat.ts';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

class Client implements Beating {
  heardAt = performance.now();
  pings = 0;
  silences = 0;
  ask() {
    this.pings++;
  }
  silent() {
    this.silences++;
  }
}

test('each is asked once in an interval, and not all in the same step', () => {
  const heartbeat = new Heartbeat(2000, 10_000);
  const clients = Array.from({ length: 100 }, () => new Client());
  for (const client of clients) heartbeat.add(client);
  vi.advanceTimersByTime(100);
  expect(clients.filter(({ pings }) => pings > 0)).toHaveLength(5);
  vi.advanceTimersByTime(1900);
  expect(clients.map(({ pings }) => pings)).toEqual(clients.map(() => 1));
  vi.advanceTimersByTime(4000);
  expect(clients.map(({ pings }) => pings)).toEqual(clients.map(() => 3));
  heartbeat.stop();
});

test('who is silent for too long is told of, and not who was heard', () => {
  const heartbeat = new Heartbeat(2000, 10_000);
  const [quiet, alive] = [new Client(), new Client()];
  const endQuiet = heartbeat.add(quiet);
  quiet.silent = () => {
    quiet.silences++;
    endQuiet();
  };
  heartbeat.add(alive);
  for (let second = 0; second < 20; second++) {
    vi.advanceTimersByTime(1000);
    alive.heardAt = performance.now();
  }
  expect(quiet.silences).toBe(1);
  expect(quiet.pings).toBe(5);
  expect(alive).toMatchObject({ pings: 10, silences: 0 });
  heartbeat.stop();
});

test('who has ended is not asked; nobody after the stop', () => {
  const heartbeat = new Heartbeat(2000, 10_000);
  const [first, second] = [new Client(), new Client()];
  const end = heartbeat.add(first);
  heartbeat.add(second);
  end();
  vi.advanceTimersByTime(2000);
  expect([first.pings, second.pings]).toEqual([0, 1]);
  heartbeat.stop();
  vi.advanceTimersByTime(4000);
  expect(second.pings).toBe(1);
});
