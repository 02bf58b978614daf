import { expect, it } from 'vitest';
import { isRefusal, refusalDelayMs, waitText } from './refusal.ts';

it('knows a refusal in the words of ffmpeg 5 and 7', () => {
  for (const reason of [
    'rtsp://***@10.0.0.5/live: Server returned 401 Unauthorized (authorization failed)',
    'method DESCRIBE failed: 401 Unauthorized',
    'Error opening input: Server returned 401 Unauthorized (authorization failed)',
    'Server returned 403 Forbidden (access denied)',
  ]) {
    expect(isRefusal(reason), reason).toBe(true);
  }
  for (const reason of ['Connection refused', 'Server returned 404 Not Found', 'no picture for 15 s', 'port 4010']) {
    expect(isRefusal(reason), reason).toBe(false);
  }
});

it('waits longer with each refusal, up to a quarter of an hour', () => {
  const waits = [1, 2, 3, 7, 8, 1000].map((refusals) => refusalDelayMs(refusals, 10_000));
  expect(waits).toEqual([10_000, 20_000, 40_000, 640_000, 900_000, 900_000]);
  expect(waitText(500)).toBe('1 s');
  expect(waitText(119_001)).toBe('2 min');
  expect(waitText(900_000)).toBe('15 min');
});
