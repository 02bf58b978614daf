import { ErrorCode } from '../../../shared/base/errors.ts';
import { type Refusal, refusal } from '../../../shared/base/refusal.ts';
import { abortText } from './fault-text.ts';
import type { TenderOutcome } from './tender.ts';

/** Characters of the task's own sentence that its caller is told. */
const MAX_SENTENCE = 200;

/** What a call that gave no result ended with, for its caller. `task` is the name of the task. */
export function describeEnd(task: string, end: TenderOutcome): Refusal<ErrorCode> {
  const after = `after ${end.runMs.toFixed(1)} ms`;
  switch (end.outcome) {
    case 'done': {
      const why = sentenceOf(end.log);
      const message = `${task} refused its input with status ${end.status} ${after}${why === '' ? '' : `: ${why}`}`;
      return refusal(ErrorCode.TaskRefusedInput, message);
    }
    case 'aborted':
      return refusal(ErrorCode.GuestAborted, `${task} aborted ${after}: ${abortText(end.code)}`);
    case 'deadline': {
      const message = `${task} was ended because its budget was spent, ${after} of running`;
      return refusal(ErrorCode.GuestDeadline, message);
    }
    case 'fault':
      return refusal(ErrorCode.GuestFault, `${task} faulted ${after}: ${end.fault}`);
    case 'bad-output':
      return refusal(ErrorCode.GuestBadOutput, `${task} returned an invalid output: ${end.reason}`);
  }
}

/** Why a task refused its input, in its own words: the last line that it logged. Empty when it logged none. */
function sentenceOf(log: string): string {
  const line =
    log
      .replaceAll('\t', ' ')
      .split('\n')
      .findLast((one) => one.trim() !== '')
      ?.trim() ?? '';
  const characters = [...line];
  return characters.length <= MAX_SENTENCE ? line : `${characters.slice(0, MAX_SENTENCE - 1).join('')}…`;
}
