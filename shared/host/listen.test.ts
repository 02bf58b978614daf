import { expect, it } from 'vitest';
import { listenFault, parseListen } from './listen.ts';

it.each([
  ['127.0.0.1:7443', '127.0.0.1', 7443],
  ['[::1]:0', '::1', 0],
  ['localhost:65535', 'localhost', 65535],
])('%s', (text, host, port) => expect(parseListen(text)).toEqual({ host, port }));

it.each(['', '7443', ':7443', 'a:', 'a:65536', 'a:-1', '::1:7443', 'a b:1', 'https://a:1', '[x]:1', 'a:1/'])(
  '%j is none',
  (text) => expect(parseListen(text)).toBeUndefined(),
);

it('says why in words', () => {
  const errno = (code: string) => Object.assign(new Error(`listen ${code}: /a`), { code });
  expect(listenFault(errno('EADDRINUSE'))).toBe('address already in use (EADDRINUSE)');
  expect(listenFault(errno('EWHATEVER'))).toBe('listen EWHATEVER: /a');
  expect(listenFault('odd')).toBe('odd');
});
