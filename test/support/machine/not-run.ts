import { describe } from 'vitest';
import { NOT_RUN } from './not-run-prefix.ts';

declare module 'vitest' {
  interface TaskMeta {
    /** Why a suite was not run on this machine. */
    notRun?: string;
  }
}

/**
 * Says in one line that this machine cannot run something that is otherwise tested; the closing reporter
 * (tools/closing-line-reporter.ts) prints all of these lines again at the end. It is only for what the machine lacks (a
 * device, a kernel module, another processor); a part that should be here and is not must fail instead.
 *
 * @param what - What is not run: "isolation vm in test/tender/guests".
 * @param reason - What is missing, and how to get it where that is possible.
 */
export function notRun(what: string, reason: string): void {
  console.warn(`${NOT_RUN}${what}: ${reason.replaceAll('\n', ' ')}`);
}

/**
 * A suite that is run only where the machine can; elsewhere it is skipped, and the reason is printed.
 *
 * @param reason - Why this machine cannot run it; undefined where it can.
 * @param name - Name of the suite, which also says what is not run.
 */
export function describeWhere(reason: string | undefined, name: string, tests: () => void): void {
  if (reason === undefined) {
    describe(name, tests);
    return;
  }
  notRun(name, reason);
  describe(name, { skip: true, meta: { notRun: reason } }, tests);
}
