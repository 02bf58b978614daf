import { afterEach, beforeEach, expect, it } from 'vitest';
import { connect, type Obu } from '../../../shared/app-sdk/index.ts';
import { ErrorCode, KerbError } from '../../../shared/base/errors.ts';
import { allGrants, DIGEST, HandObu, workload } from '../../../test/support/gateway-parts.ts';

const task = 'dashcam-filter';
let obu: HandObu;
let app: Obu;

beforeEach(async () => {
  obu = new HandObu();
  const grants = { ...allGrants, offload: { tasks: [task], maxBudgetMs: 500, state: ['trip'] } };
  const { path } = await obu.serve(workload('app', grants));
  app = await connect({ path });
});
afterEach(async () => {
  app.close();
  await obu.close();
});

it('passes what is granted on, and gives back what the broker says', async () => {
  const value = Uint8Array.of(1, 2);
  obu.offloader.keep = async () => ({ version: 7, value, expiresInMs: 50 });
  expect(await app.state.get(task, 'trip')).toEqual({ version: 7, value: Buffer.from(value), expiresInMs: 50 });
  expect(await app.state.put(task, 'trip', value, { ttlMs: 9 })).toBe(7);
  await app.state.compareAndSet(task, 'trip', 0, value);
  await app.state.delete(task, 'trip');
  expect(obu.offloader.stateCalls).toMatchObject([
    { operation: 'get', taskDigest: DIGEST, key: 'trip', expected: undefined },
    { operation: 'put', ttlMs: 9, value: Buffer.from(value) },
    { operation: 'cas', expected: 0 },
    { operation: 'delete', expected: undefined },
  ]);
});

it('refuses what is not granted or not valid, and tells the version that is there', async () => {
  const value = Uint8Array.of(1);
  await expect(app.state.get(task, 'other')).rejects.toMatchObject({ code: ErrorCode.NotGranted });
  await expect(app.state.get('none', 'trip')).rejects.toMatchObject({ code: ErrorCode.NotGranted });
  await expect(app.state.put(task, 'trip', new Uint8Array(65_537))).rejects.toMatchObject({
    code: ErrorCode.StateTooLarge,
  });
  await expect(app.state.compareAndSet(task, 'trip', 1.5, value)).rejects.toMatchObject({
    code: ErrorCode.BadGatewayRequest,
  });
  expect(obu.offloader.stateCalls).toEqual([]);
  obu.offloader.keep = async () => {
    throw new KerbError(ErrorCode.StateConflict, 'another version', { version: 0 });
  };
  await expect(app.state.compareAndSet(task, 'trip', 3, value)).rejects.toMatchObject({ context: { version: 0 } });
  obu.offloader.keep = async () => {
    throw new KerbError(ErrorCode.UnknownStateKey, 'none');
  };
  expect(await app.state.get(task, 'trip')).toBeUndefined();
});
