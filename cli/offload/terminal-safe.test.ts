import { expect, test } from 'vitest';
import { terminalSafe } from './terminal-safe.ts';

test.each([
  ['', ''],
  ['plain', 'plain\n'],
  ['two\n\tlines\n', 'two\n\tlines\n'],
  ['straße', 'straße\n'],
])('%j is shown as it is', (text, shown) => expect(terminalSafe(Buffer.from(text))).toBe(shown));

test.each(['\u001b[2J', 'a\rb', '\u0007', '\u009b2J', 'a\u202eb', '\u0000'])(
  '%j does not reach the terminal',
  (text) => {
    const shown = terminalSafe(Buffer.from(text));
    expect(shown).toMatch(/^00000000 {2}[0-9a-f ]+ {2}[ -~]+\n$/);
  },
);

test('bytes are a hex dump with a bound', () => {
  const shown = terminalSafe(Buffer.alloc(10_000, 0xff));
  expect(shown.split('\n')).toHaveLength(18);
  expect(shown).toContain('000000f0  ff ff');
  expect(shown).toContain('9744 more bytes');
});
