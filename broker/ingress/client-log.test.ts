import pino from 'pino';
import { expect, test } from 'vitest';
import { RecentErrors } from '../../shared/api/recent-errors.ts';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import { shownText } from '../../shared/protocol/shown-refusal.ts';
import { ClientLog } from './client-log.ts';

function setUp() {
  const lines: Record<string, unknown>[] = [];
  const log = pino({ level: 'info' }, { write: (line: string) => lines.push(JSON.parse(line)) });
  const errors = new RecentErrors();
  return { lines, errors, clients: new ClientLog(log as never, errors) };
}

test('a client that comes and goes, or is refused, without end fills no disk, and hides nobody', () => {
  const { lines, clients, errors } = setUp();
  for (let n = 0; n < 1000; n++) {
    clients.connected('car-1', 'ACME');
    clients.refused('vehicle car-1', new KerbError(ErrorCode.BadOffloadRequest, 'it is bad'));
    clients.disconnected('car-1', 'transport close');
  }
  expect(lines.length).toBeLessThan(20);
  clients.connected('car-2', 'ACME');
  expect(lines.at(-1)).toMatchObject({ vehicle: 'car-2', tenant: 'ACME', msg: 'vehicle connected' });
  expect(errors.list()).toHaveLength(1);
});

test('many clients together are bounded as well, and so is what is known of them', () => {
  const { lines, clients } = setUp();
  for (let n = 0; n < 5000; n++) clients.connected(`car-${n}`, 'ACME');
  expect(lines.length).toBeLessThan(400);
});

test('lines and the status hold one line of text', () => {
  const { lines, clients, errors } = setUp();
  clients.refused('10.0.0.1', new KerbError(ErrorCode.Unauthenticated, 'a\nb\u001b[2J \u2028 /etc/kerbside/key.pem'));
  expect(lines[0]).toMatchObject({ client: '10.0.0.1', err: 'a b [2J   (a file)' });
  expect(errors.list()[0]?.message).toBe('a b [2J   (a file)');
});

test.each([
  ["open '/root/x/y.elf'", "open '(a file)'"],
  ['at /usr/lib: no', 'at (a file): no'],
  ['(/a/b)', '((a file))'],
  ['path=/a/b/c.so', 'path=(a file)'],
  ['asks for /v2e, bytes/s and and/or 1/2', 'asks for /v2e, bytes/s and and/or 1/2'],
  ['sha256:abc 0x0 0xff', 'sha256:abc 0x0 0xff'],
  ['read of 0x7f3a5c001000', 'read of (an address)'],
  ['x'.repeat(700), `${'x'.repeat(599)}…`],
])('%j is shown as %j', (text, shown) => expect(shownText(text)).toBe(shown));
