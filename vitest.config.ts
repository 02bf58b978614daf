import { defineConfig } from 'vitest/config';

// Two projects: `unit` sits beside the files and needs nothing but Node; `system` uses real parts (a Docker Engine,
// a kernel in QEMU, tenders, whole daemons) and so runs one file at a time on a two-core machine.
export default defineConfig({
  test: {
    reporters: ['default', './tools/closing-line-reporter.ts'],
    projects: [
      {
        test: {
          name: 'unit',
          include: ['{obu,broker,shared,sim,examples,bench,bin,tools}/**/*.test.ts'],
          testTimeout: 20_000,
        },
      },
      {
        test: {
          name: 'system',
          include: ['test/**/*.test.ts'],
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 300_000,
        },
      },
    ],
  },
});
