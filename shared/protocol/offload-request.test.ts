import { expect, it } from 'vitest';
import { isOffloadId, isolationFrom } from './offload-request.ts';

it('takes an id of printable ASCII without spaces, up to 128 characters', () => {
  for (const id of ['a', 'car/app/1', '!~', 'x'.repeat(128)]) expect(isOffloadId(id)).toBe(true);
  for (const id of ['', ' ', 'a b', 'a\n', 'a\u0000', 'ä', 'x'.repeat(129)]) expect(isOffloadId(id)).toBe(false);
});

it('knows two isolations', () => {
  expect(['', 'any', 'vm'].map(isolationFrom)).toEqual(['any', 'any', 'vm']);
  for (const text of ['VM', 'process', 'auto', ' vm', 'none']) expect(isolationFrom(text)).toBeUndefined();
});
