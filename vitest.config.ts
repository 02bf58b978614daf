import { defineConfig } from 'vitest/config';

// Two projects: `unit` sits beside the files and needs nothing but Node; `system` uses real parts (a Docker Engine,
// User-Mode Linux, tenders, whole daemons) and so runs one file at a time on a two-core machine.
export default defineConfig({
  test: {
    reporters: ['default', './tools/closing-line-reporter.ts'],
    projects: [
      {
        test: {
          name: 'unit',
          include: ['{obu,broker,shared,sim,examples,bench,bin,tools}/**/*.test.ts'],
          setupFiles: ['test/support/patience.ts'],
          testTimeout: 60_000,
        },
      },
      {
        test: {
          name: 'system',
          include: ['test/**/*.test.ts'],
          exclude: ['test/long/**'],
          globalSetup: ['test/support/machine-setup.ts'],
          setupFiles: ['test/support/patience.ts', 'test/support/machine-needs.ts'],
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 300_000,
        },
      },
    ],
  },
});
