import { expect, test } from 'vitest';
import { ErrorCode, KerbError } from '../base/errors.ts';
import { kerbside } from '../protocol/generated/v2e.js';
import { encodePushRefusal } from './push-codec.ts';

test('a refused push shows nothing of the host, and says of which kind the refusal is', () => {
  const message = "EACCES: permission denied, open '/var/lib/kerbside/pushed/ab\n12'";
  const bytes = encodePushRefusal(new KerbError(ErrorCode.PackageNotStored, message, { retryAfterMs: 500 }));
  const { refusal } = kerbside.v2e.PushReply.decode(bytes);
  expect(refusal).toMatchObject({ code: ErrorCode.PackageNotStored, retryAfterMs: 500, reason: 'failed' });
  expect(refusal?.message).toContain('EACCES: permission denied');
  expect(refusal?.message).not.toMatch(/\/var|\n/);
});
