import { expect, it } from 'vitest';
import { EngineHealth } from './engine-health.ts';

const refusal = Object.assign(new Error('HTTP 500'), { statusCode: 500, json: { message: 'no space left' } });

it('asks an engine that does not answer less and less often, and says for how long it has not', () => {
  let now = 1000;
  const health = new EngineHealth(() => now);
  health.answered();
  const waits = Array.from({ length: 8 }, () => health.failed(new Error('it hangs')));
  expect(waits).toEqual([1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
  now = 4210;
  expect(health.fault).toBe('no answer for 3.2 s: it hangs');
  expect(health.reason).toBe('it hangs');
  health.answered();
  expect(health.fault).toBe('');
  expect(health.failed(new Error('again'))).toBe(1000);
  expect(health.isFirstFailure).toBe(true);
});

it('takes a refusal for an answer', () => {
  let now = 0;
  const health = new EngineHealth(() => now);
  now = 5000;
  health.failed(refusal);
  expect(health.fault).toBe('no space left');
  now = 6000;
  health.failed(new Error('it hangs'));
  expect(health.fault).toBe('no answer for 1.0 s: it hangs');
});
