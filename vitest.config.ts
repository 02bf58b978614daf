import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { defineConfig } from 'vitest/config';
import { LongestFirst } from './tools/longest-first.ts';

/**
 * So many test files at once. Most of a system test is waiting (for an engine, a back-off, a camera that stalls), so there
 * are more of them than processors; projects of one `groupOrder` must have the same number.
 */
const maxWorkers = Math.min(8, 2 * availableParallelism());

/** What Node makes of the sources, for every daemon and command that a test starts (see bin/kerb). */
const env = { NODE_COMPILE_CACHE: join(import.meta.dirname, 'build', 'compile-cache') };

const system = {
  env,
  maxWorkers,
  globalSetup: ['test/support/machine-setup.ts'] as string[],
  setupFiles: ['test/support/patience.ts', 'test/support/machine-needs.ts'],
  testTimeout: 120_000,
  hookTimeout: 300_000,
};

// The lanes run side by side, the files that take longest first: a kernel in QEMU; tenders and the broker; cameras and
// whole daemons; engines. `unit` sits beside the files, needs nothing but Node and fills what is left of the processors.
export default defineConfig({
  test: {
    reporters: ['default', './tools/closing-line-reporter.ts'],
    maxWorkers,
    sequence: { sequencer: LongestFirst },
    projects: [
      { test: { ...system, name: 'kernel', include: ['test/vcan/**/*.test.ts'] } },
      { test: { ...system, name: 'tenders', include: ['test/{tender,broker}/**/*.test.ts'] } },
      { test: { ...system, name: 'daemons', include: ['test/{dashcam,e2e}/**/*.test.ts'] } },
      {
        test: {
          ...system,
          name: 'engines',
          include: ['test/docker/**/*.test.ts'],
          globalSetup: [...system.globalSetup, 'test/support/engine-setup.ts'],
        },
      },
      {
        test: {
          name: 'unit',
          include: ['{obu,broker,shared,sim,examples,bench,bin,tools}/**/*.test.ts'],
          env,
          maxWorkers,
          // None of them leaves anything in a module, and a process for each would cost more than the tests do.
          isolate: false,
          setupFiles: ['test/support/patience.ts'],
          testTimeout: 60_000,
        },
      },
    ],
  },
});
