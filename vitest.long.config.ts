import { defineConfig } from 'vitest/config';

// What takes many minutes, or a machine of its own: `npm run test:long`.
export default defineConfig({
  test: {
    reporters: ['default', './tools/closing-line-reporter.ts'],
    include: ['test/long/**/*.test.ts'],
    fileParallelism: false,
    testTimeout: 3_600_000,
    hookTimeout: 3_600_000,
  },
});
