import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { defineConfig } from 'vitest/config';
import { LongestFirst } from './tools/longest-first.ts';

const processors = availableParallelism();
/**
 * So many test files at once. What drives engines, daemons and the emulated kernel waits for about half of its time: so there
 * are two more than processors. Not more: a run has to pass on a machine that has other work.
 */
const maxWorkers = Math.min(10, Math.max(2, processors) + 2);

/** What Node makes of the sources, for every daemon and command that a test starts (see bin/kerb). */
const env = { NODE_COMPILE_CACHE: join(import.meta.dirname, 'build', 'compile-cache') };

const system = {
  env,
  globalSetup: ['test/support/machine/machine-setup.ts'] as string[],
  setupFiles: ['test/support/time-limits.ts', 'test/support/machine/machine-needs.ts'],
  testTimeout: 120_000,
  hookTimeout: 300_000,
};

// One queue (tools/longest-first.ts): the kernel in QEMU and the main job begin, and beside them `unit`, which needs nothing but
// Node and fails soonest; then three lanes side by side, the files that take longest first: tenders and the broker; cameras and
// whole daemons; engines.
export default defineConfig({
  test: {
    reporters: ['default', ['./tools/closing-line-reporter.ts', { longForms: 'npm run test:long' }]],
    maxWorkers,
    sequence: { sequencer: LongestFirst },
    // Only for `npm run test:coverage`: it makes tests slower, and does not see the processes that system tests start.
    coverage: {
      provider: 'v8',
      include: ['{obu,broker,shared,sim,cli}/**/*.ts'],
      exclude: ['**/generated/**', '**/*.test.ts', 'broker/unikernel/typescript/**'],
      reporter: ['text-summary', 'html'],
      reportsDirectory: 'build/coverage',
    },
    projects: [
      { test: { ...system, maxWorkers, name: 'kernel', include: ['test/vcan/**/*.test.ts'] } },
      { test: { ...system, maxWorkers, name: 'tenders', include: ['test/{tender,broker}/**/*.test.ts'] } },
      { test: { ...system, maxWorkers, name: 'daemons', include: ['test/{dashcam,e2e}/**/*.test.ts'] } },
      {
        test: {
          ...system,
          maxWorkers,
          name: 'engines',
          include: ['test/docker/**/*.test.ts'],
          globalSetup: [...system.globalSetup, 'test/support/machine/engine-setup.ts'],
        },
      },
      {
        test: {
          name: 'unit',
          include: ['{obu,broker,shared,sim,examples,bench,cli,tools}/**/*.test.ts', 'test/{compat,fuzz}/**/*.test.ts'],
          env,
          maxWorkers,
          // None of them leaves anything in a module, and a process for each would cost more than the tests do.
          isolate: false,
          setupFiles: ['test/support/time-limits.ts'],
          testTimeout: 60_000,
        },
      },
    ],
  },
});
