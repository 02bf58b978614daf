import { expect, it } from 'vitest';
import { kerbside } from '../protocol/generated/v2e.js';
import { decodeAnnouncement } from './announcement.ts';

const { ServiceAnnouncement } = kerbside.v2e;

it('reads what a broker announces, and fills in what it left out', () => {
  const bytes = ServiceAnnouncement.encode({ version: 1, broker: 'rsu-1', tasks: [{ digest: 'sha256:a' }] }).finish();
  expect(decodeAnnouncement(bytes)).toEqual({
    version: 1,
    broker: 'rsu-1',
    tasks: [{ digest: 'sha256:a', name: '', version: '', maxInput: 0, maxOutput: 0, hasState: false }],
    maxInput: 0,
    features: [],
  });
});

it.each([undefined, null, 'text', { broker: 'rsu-1' }, [1, 2], Buffer.alloc(50, 0xff)])(
  'does not take %j for one',
  (payload) => {
    expect(() => decodeAnnouncement(payload)).toThrow();
  },
);
