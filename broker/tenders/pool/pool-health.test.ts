import { expect, test } from 'vitest';
import { ErrorCode, KerbError } from '../../../shared/base/errors.ts';
import { silentLog } from '../../../shared/base/log.ts';
import { PoolHealth } from './pool-health.ts';

const lost = (starved: boolean) => new KerbError(ErrorCode.TenderDied, 'a tender died', { starved });

test('tenders that got no processor put no package into quarantine, and are told as they are', () => {
  const health = new PoolHealth('echo 1', silentLog());
  for (let i = 0; i < 10; i++) expect(health.failed(lost(true)).code).toBe(ErrorCode.TenderDied);
  expect(health.isQuarantined(performance.now())).toBe(false);
  expect(health.onProbation).toBe(false);
  expect(health.refusal(performance.now())).toMatchObject({ code: ErrorCode.TenderUnavailable });
  for (let i = 0; i < 4; i++) health.failed(lost(false));
  expect(health.isQuarantined(performance.now())).toBe(false);
  expect(health.failed(lost(false)).code).toBe(ErrorCode.PackageQuarantined);
  expect(health.isQuarantined(performance.now())).toBe(true);
});
