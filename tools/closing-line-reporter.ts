import { relative } from 'node:path';
import type { UserConsoleLog } from 'vitest';
import type { Reporter, TestCase, TestModule, TestSuite, Vitest } from 'vitest/node';
import { NOT_RUN } from '../test/support/machine/not-run-prefix.ts';

/** So many skipped tests that gave no reason are named. */
const NAMED = 10;

/**
 * Closes a test run with what could not be run on this machine, one line each with the reason, and one plain line,
 * `N passed, N failed, N skipped`, for programs that read the output. KERB_TEST_SLOWEST=N names the N files that took longest.
 */
export default class ClosingLineReporter implements Reporter {
  readonly #lines = new Set<string>();
  readonly #longForms: string | undefined;
  #filtered = false;

  /** @param options.longForms the command that runs what this run has only in a short form */
  constructor(options: { readonly longForms?: string } = {}) {
    this.#longForms = options.longForms;
  }

  onInit(vitest: Vitest): void {
    this.#filtered = vitest.config.testNamePattern !== undefined;
  }

  onUserConsoleLog(log: UserConsoleLog): void {
    for (const line of log.content.split('\n')) if (line.startsWith(NOT_RUN)) this.#lines.add(line);
  }

  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly unknown[]): void {
    const count = { passed: 0, failed: 0, skipped: 0, pending: 0 };
    const unexplained: string[] = [];
    for (const module of modules) {
      for (const test of module.children.allTests()) {
        const result = test.result();
        count[result.state]++;
        if (result.state !== 'skipped') continue;
        if (result.note !== undefined) this.#lines.add(`${NOT_RUN}${test.fullName}: ${result.note}`);
        else if (!this.#filtered && !explained(test)) unexplained.push(test.fullName);
      }
      // A file that could not be loaded has no tests, those of a suite whose hook failed count as skipped, and an error
      // that nobody caught belongs to no test: all of them are failures.
      count.failed += [module, ...module.children.allSuites()].filter((part) => part.errors().length > 0).length;
    }
    count.failed += unhandled.length;
    for (const line of slowest(modules, Number(process.env.KERB_TEST_SLOWEST ?? 0))) console.log(line);
    for (const line of this.#lines) console.log(line);
    for (const name of unexplained.slice(0, NAMED)) console.log(`${NOT_RUN}${name}: it was skipped without a reason`);
    if (unexplained.length > NAMED) console.log(`${NOT_RUN}${unexplained.length - NAMED} more tests, without a reason`);
    if (this.#longForms !== undefined) console.log(`long forms: ${this.#longForms}`);
    console.log(`${count.passed} passed, ${count.failed} failed, ${count.skipped + count.pending} skipped`);
  }
}

/** Files with the seconds that they took, the slowest first. */
function slowest(modules: readonly TestModule[], count: number): string[] {
  const seconds = (module: TestModule): number => {
    const { collectDuration, duration } = module.diagnostic();
    return (collectDuration + duration) / 1000;
  };
  return modules
    .map((module) => [seconds(module), relative('', module.moduleId)] as const)
    .sort(([a], [b]) => b - a)
    .slice(0, count)
    .map(([took, file]) => `${took.toFixed(1).padStart(6)} s  ${file}`);
}

/** Whether the suite of a skipped test has said why, or has failed, which takes its tests with it. */
function explained(test: TestCase): boolean {
  let parent: TestModule | TestSuite = test.parent;
  while (parent.type === 'suite') {
    if (parent.meta().notRun !== undefined || parent.errors().length > 0) return true;
    parent = parent.parent;
  }
  return parent.errors().length > 0;
}
