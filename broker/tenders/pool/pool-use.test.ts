import { expect, test } from 'vitest';
import { FakeTender } from '../../../test/support/fake-tender.ts';
import { loadingTender } from './held-tender.ts';
import { knownOf, processPer } from './pool-use.ts';

const tender = (kept: boolean, state: 'Waiting' | 'Loading' = 'Waiting', isolation: 'process' | 'vm' = 'process') => {
  const held = loadingTender(1, 0, 0);
  held.tender = Object.assign(new FakeTender(undefined, isolation), { kept });
  held.state = state;
  return knownOf(held);
};

test('whether calls share a process is told of tenders that are ready, in isolation process', () => {
  expect(processPer([tender(true), tender(true)])).toBe('tender');
  expect(processPer([tender(true), tender(false)])).toBe('call');
  // One that loads has not said yet.
  expect(processPer([tender(true), tender(false, 'Loading')])).toBe('tender');
  expect(processPer([tender(false, 'Waiting', 'vm')])).toBe('');
  expect(processPer([knownOf(loadingTender(1, 0, 0))])).toBe('');
});
