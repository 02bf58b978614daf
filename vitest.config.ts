import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { defineConfig } from 'vitest/config';
import { LongestFirst } from './tools/longest-first.ts';

const processors = availableParallelism();
/**
 * So many test files at once. Some of them keep every processor busy on purpose (bad neighbours), so there are no more than
 * processors; projects of one `groupOrder` must have the same number.
 */
const maxWorkers = Math.min(8, Math.max(2, processors));
/** An emulated kernel takes a processor for itself: what runs beside it has the others. */
const first = { maxWorkers: Math.max(2, processors), sequence: { groupOrder: 0 } };
const then = { maxWorkers, sequence: { groupOrder: 1 } };

/** What Node makes of the sources, for every daemon and command that a test starts (see bin/kerb). */
const env = { NODE_COMPILE_CACHE: join(import.meta.dirname, 'build', 'compile-cache') };

const system = {
  env,
  globalSetup: ['test/support/machine/machine-setup.ts'] as string[],
  setupFiles: ['test/support/time-limits.ts', 'test/support/machine/machine-needs.ts'],
  testTimeout: 120_000,
  hookTimeout: 300_000,
};

// First a kernel in QEMU with `unit` beside it, which sits beside the files and needs nothing but Node. Then three lanes side
// by side, the files that take longest first: tenders and the broker; cameras and whole daemons; engines.
export default defineConfig({
  test: {
    reporters: ['default', './tools/closing-line-reporter.ts'],
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
      { test: { ...system, ...first, name: 'kernel', include: ['test/vcan/**/*.test.ts'] } },
      { test: { ...system, ...then, name: 'tenders', include: ['test/{tender,broker}/**/*.test.ts'] } },
      { test: { ...system, ...then, name: 'daemons', include: ['test/{dashcam,e2e}/**/*.test.ts'] } },
      {
        test: {
          ...system,
          ...then,
          name: 'engines',
          include: ['test/docker/**/*.test.ts'],
          globalSetup: [...system.globalSetup, 'test/support/machine/engine-setup.ts'],
        },
      },
      {
        test: {
          name: 'unit',
          include: ['{obu,broker,shared,sim,examples,bench,cli,tools}/**/*.test.ts'],
          env,
          ...first,
          // None of them leaves anything in a module, and a process for each would cost more than the tests do.
          isolate: false,
          setupFiles: ['test/support/time-limits.ts'],
          testTimeout: 60_000,
        },
      },
    ],
  },
});
