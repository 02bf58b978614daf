import { type ChildProcess, spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import { ErrorCode, KerbError } from '../../../shared/base/errors.ts';
import { TenderCalls } from './tender-calls.ts';

// What a tender does with a call is tested in test/tender; here are processes that take one and never answer.

const children: ChildProcess[] = [];
afterEach(() => {
  // Each has a process group of its own, so that its children go along.
  for (const { pid } of children.splice(0)) process.kill(-pid!, 'SIGKILL');
});

/** One call of 20 ms to a process that does this instead. `given` is what the call was given up with. */
function callTo(script: string) {
  const child = spawn('sh', ['-c', script], {
    stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
    detached: true,
  });
  children.push(child);
  const given: { reason: string; starved: boolean }[] = [];
  const calls: TenderCalls = new TenderCalls(
    (reason, starved = false) => {
      given.push({ reason, starved });
      const error = new KerbError(ErrorCode.TenderDied, reason);
      calls.abort(error);
      return error;
    },
    () => {},
  );
  const socket = child.stdio[3] as unknown as Socket;
  socket.on('error', () => {});
  const call = calls.run(socket, child.pid, Buffer.from('x'), 20, 16);
  call.catch(() => {});
  return { child, call, given };
}

const HANGS = { reason: 'did not answer within 250 ms after its budget', starved: false };

test.each([
  ['sleeps for ever', 'exec sleep 1000'],
  ['waits for a child that sleeps for ever', 'sleep 1000; exit'],
  ['computes for ever', 'while :; do :; done'],
  ['has a child that computes for ever', '(while :; do :; done); exit'],
])('one that %s is given up', async (_what, script) => {
  const { call, given } = callTo(script);
  await expect(call).rejects.toMatchObject({ code: ErrorCode.TenderDied });
  expect(given).toEqual([HANGS]);
});

test('one that is stopped is not, as long as that may be for want of a processor', async () => {
  const { child, call, given } = callTo('while :; do :; done');
  child.kill('SIGSTOP');
  await sleep(800);
  expect(given).toEqual([]);
  child.kill('SIGCONT');
  // It goes on, and now it has what it would have needed.
  await expect(call).rejects.toMatchObject({ code: ErrorCode.TenderDied });
  expect(given).toEqual([HANGS]);
});
