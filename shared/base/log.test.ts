import { Writable } from 'node:stream';
import { expect, it } from 'vitest';
import { createLog, LOG_KEYS, silentLog } from './log.ts';

function written(write: (log: ReturnType<typeof createLog>) => void): Record<string, unknown>[] {
  let text = '';
  const sink = new Writable({
    write: (chunk, _encoding, done) => {
      text += chunk;
      done();
    },
  });
  write(createLog('obu', sink));
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
}

it('writes JSON lines with known keys', () => {
  const lines = written((log) => {
    log.info('up');
    log.child({ part: 'can' }).warn({ bus: 'can0', reason: 'no such device' }, 'bus is down');
    log.error({ err: new Error('broken'), code: 1001 }, 'failed');
  });
  expect(lines[0]).toEqual({ level: 'info', time: expect.stringMatching(/^\d{4}-.*Z$/), room: 'obu', msg: 'up' });
  expect(lines[1]).toMatchObject({ level: 'warn', part: 'can', bus: 'can0', msg: 'bus is down' });
  expect(lines[2]!.err).toMatchObject({ message: 'broken', stack: expect.any(String) });
  for (const line of lines) for (const key of Object.keys(line)) expect(LOG_KEYS).toContain(key);
});

it('has each key once', () => expect(new Set(LOG_KEYS).size).toBe(LOG_KEYS.length));

it('does not compile with a key that nobody knows', () => {
  // @ts-expect-error: the key is not among LOG_KEYS
  silentLog().info({ wrokload: 'a' }, 'a typo');
  // @ts-expect-error: the same for children
  silentLog().child({ zone: 'a' });
});
