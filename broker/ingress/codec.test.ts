import { expect, test } from 'vitest';
import { ErrorCode, type KerbError } from '../../shared/base/errors.ts';
import { kerbside } from '../../shared/protocol/generated/v2e.js';
import { decodeAnnouncement } from '../../shared/v2e-client/announcement.ts';
import { decodeOffload, encodeAnnouncement } from './codec.ts';

type Fields = Parameters<typeof kerbside.v2e.OffloadRequest.encode>[0];

const DIGEST = `sha256:${'a'.repeat(64)}`;
const good: Fields = { id: 'o-1', taskDigest: DIGEST, input: Buffer.from('in'), budgetMs: 50 };

const decoded = (fields: Fields, version = 2) => {
  const bytes = Buffer.from(kerbside.v2e.OffloadRequest.encode({ ...good, ...fields }).finish());
  return decodeOffload(bytes, { tenant: 'acme', id: 'car-1', version }, 1000);
};
const refused = (fields: Fields) => {
  try {
    decoded(fields);
  } catch (error) {
    const { code, context } = error as KerbError;
    return { code, id: context.id };
  }
  return undefined;
};

test('a request of version 2 that gives nothing has the defaults', () => {
  expect(decoded({})).toMatchObject({
    tenant: 'acme',
    vehicle: 'car-1',
    id: 'o-1',
    taskDigest: DIGEST,
    input: Buffer.from('in'),
    isolation: 'any',
    serviceClass: 'idle',
    keepMs: 0,
    durable: false,
    dwellMs: Infinity,
    wantReceipt: false,
    traceparent: '',
  });
});

test('a request of version 2 that gives everything is read as it is', () => {
  const traceparent = `00-${'1'.repeat(32)}-${'2'.repeat(16)}-01`;
  const all = { serviceClass: 2, keepMs: 9000, dwellMs: 4000, wantReceipt: true, traceparent, needs: ['receipt'] };
  expect(decoded(all)).toMatchObject({
    serviceClass: 'high',
    keepMs: 9000,
    durable: true,
    dwellMs: 4000,
    wantReceipt: true,
    traceparent,
  });
  expect(decoded({ ...all, durable: false }).durable).toBe(false);
});

test('a client of version 1 gets what version 1 promised, whatever else it sends', () => {
  expect(decoded({ priority: 800, keepMs: 5, durable: true, wantReceipt: true, needs: ['x'] }, 1)).toMatchObject({
    serviceClass: 'high',
    keepMs: 60_000,
    durable: false,
    wantReceipt: false,
  });
});

test('the state of a session is taken from a client of version 2, and from no other', () => {
  const state = { home: 'cloud-1', key: 'trip/7' };
  expect(decoded({ state }).state).toEqual({ ...state, tenant: '' });
  expect(decoded({ state: { ...state, tenant: 'Other' } }).state).toEqual({ ...state, tenant: 'Other' });
  expect(decoded({ state }, 1).state).toBeUndefined();
  for (const bad of [{ key: '' }, { key: 'k'.repeat(129) }, { key: 'a\n' }, { home: '' }, { tenant: 'a\nb' }]) {
    expect(refused({ state: { ...state, ...bad } })).toEqual({ code: ErrorCode.BadOffloadRequest, id: 'o-1' });
  }
});

test.each<[string, Fields]>([
  ['a feature that is not known', { needs: ['receipt', 'from-the-future'] }],
  ['a pipeline', { pipeline: [{ taskDigest: DIGEST }] }],
  ['a stated principal', { principal: { tenant: 'other', vehicle: 'v' } }],
])('%s is refused, and not skipped', (_name, fields) => {
  expect(refused(fields)).toEqual({ code: ErrorCode.NotSupported, id: 'o-1' });
});

test.each<[string, Fields]>([
  ['a class beyond the last', { serviceClass: 5 as never }],
  ['a class below the first', { serviceClass: -1 as never }],
  ['a result kept for more than a day', { keepMs: 86_400_001 }],
  ['a negative dwell', { dwellMs: -1 }],
  ['a dwell that is no number', { dwellMs: Number.NaN }],
  ['a traceparent of another form', { traceparent: 'x\ny' }],
  ['no budget', { budgetMs: 0 }],
  ['an input in chunks without a hash', { chunked: { size: 5 } }],
  ['an input in chunks with half a hash', { chunked: { size: 5, sha256: Buffer.alloc(16) } }],
  ['an input in chunks without a size', { chunked: { sha256: Buffer.alloc(32) } }],
  ['an input in chunks that no memory holds', { chunked: { size: 2 ** 40, sha256: Buffer.alloc(32) } }],
  ['an input both whole and in chunks', { input: Buffer.alloc(1), chunked: { size: 5, sha256: Buffer.alloc(32) } }],
])('%s is not valid', (_name, fields) => {
  expect(refused(fields)).toEqual({ code: ErrorCode.BadOffloadRequest, id: 'o-1' });
});

test('an input in chunks has a size and a hash, and from version 1 none', () => {
  const chunked = { size: 5_000_000, sha256: Buffer.alloc(32, 1) };
  const announced = { input: { length: 5_000_000 }, inputDigest: Buffer.alloc(32, 1).toString('base64') };
  expect(decoded({ input: Buffer.alloc(0), chunked, needs: ['chunks'] })).toMatchObject(announced);
  expect(decoded({ chunked }, 1)).not.toHaveProperty('inputDigest');
});

test('only a client that greets hears of versions and features', () => {
  const announcement = {
    broker: 'rsu-1',
    tasks: [],
    isolations: ['process'],
    maxInput: 5,
    queueMs: 2.5,
    freeTenders: 3,
  };
  const heard = (version: number) => kerbside.v2e.ServiceAnnouncement.decode(encodeAnnouncement(announcement, version));
  expect(heard(1)).toMatchObject({ version: 1, versions: [], features: [], queueMs: 0, freeTenders: 0 });
  expect(heard(2)).toMatchObject({
    queueMs: 2.5,
    freeTenders: 3,
    version: 2,
    versions: [1, 2],
    features: expect.arrayContaining(['receipt']),
  });
  expect(decodeAnnouncement(encodeAnnouncement(announcement, 1))).toMatchObject({ version: 1, broker: 'rsu-1' });
});
