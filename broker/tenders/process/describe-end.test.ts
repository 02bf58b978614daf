import { expect, test } from 'vitest';
import { ErrorCode } from '../../../shared/base/errors.ts';
import { describeEnd } from './describe-end.ts';

const refused = (log: string) =>
  describeEnd('echo', {
    ...{ outcome: 'done', status: 3, output: Buffer.alloc(0) },
    ...{ runMs: 1.25, cpuMs: 1, peakMemory: 0, log },
  });

test.each([
  ['', ''],
  ['\n \n', ''],
  ['reading\nno width\n', ': no width'],
  ['no newline at the end', ': no newline at the end'],
  ['a\tb  \n\n', ': a b'],
])('a refusal carries the last line of the log: %j', (log, end) => {
  expect(refused(log)).toEqual({
    code: ErrorCode.TaskRefusedInput,
    message: `echo refused its input with status 3 after 1.3 ms${end}`,
    retryAfterMs: 0,
  });
});

test('of a long line there is a bounded part, whole characters', () => {
  const { message } = refused('😀'.repeat(4000));
  expect([...message].length).toBeLessThan(300);
  expect(message.isWellFormed()).toBe(true);
});
