import { expect, it } from 'vitest';
import { EngineHealth } from './engine-health.ts';

const refusal = Object.assign(new Error('HTTP 500'), { statusCode: 500, json: { message: 'no space left' } });

it('asks an engine that does not answer less and less often, and says since when', () => {
  const health = new EngineHealth();
  const waits = Array.from({ length: 8 }, (_, i) => health.failed(new Error('it hangs'), 1000 * i));
  expect(waits).toEqual([1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
  expect(health.fault).toBe('not answering since 1970-01-01T00:00:00.000Z: it hangs');
  health.answered();
  expect(health.fault).toBe('');
  expect(health.failed(new Error('again'), 0)).toBe(1000);
  expect(health.isFirstFailure).toBe(true);
});

it('takes a refusal for an answer', () => {
  const health = new EngineHealth();
  health.failed(refusal, 0);
  expect(health.fault).toBe('no space left');
});
