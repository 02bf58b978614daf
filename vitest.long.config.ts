import { join } from 'node:path';
import { defineConfig } from 'vitest/config';

/** Files that are shorter in `npm test`: fewer repetitions, or only the rows that stand for a table (test/support/rounds.ts). */
const LONG_FORMS = [
  'test/broker/{clock,pools,random-kills,serve,state-kills,task-push,transfer-kills}.test.ts',
  'test/docker/{apply,bundle,clock,crash,engine-death,neighbours,side-by-side,survival,update,workloads}.test.ts',
  'test/e2e/main-job.test.ts',
  'test/dashcam/{failures,pictures,recording,sim-dashcam,sources}.test.ts',
  'test/tender/{aarch64,aqi,guests,images,leaks,sizes,task-run,tasks,typescript}.test.ts',
  'test/vcan/socketcan.test.ts',
  'broker/ingress/transfers/uploads-model.test.ts',
  'broker/tenders/pool/pool-plan.test.ts',
  'obu/{manifest/foreign-values,planner/in-flight,planner/properties,planner/resources/room,state/state-store}.test.ts',
  'shared/discovery/announcement-fuzz.test.ts',
  'shared/task-package/task-package.test.ts',
  'test/fuzz/{connections,messages}.test.ts',
  'tools/closing-line-reporter.test.ts',
];

// What takes many minutes, or a machine of its own, and the long forms of what `npm test` runs: `npm run test:long`.
export default defineConfig({
  test: {
    reporters: ['default', './tools/closing-line-reporter.ts'],
    include: ['test/long/**/*.test.ts', ...LONG_FORMS],
    globalSetup: ['test/support/machine/machine-setup.ts', 'test/support/machine/engine-setup.ts'],
    setupFiles: ['test/support/time-limits.ts', 'test/support/machine/machine-needs.ts'],
    env: { KERB_TEST_LONG: '1', NODE_COMPILE_CACHE: join(import.meta.dirname, 'build', 'compile-cache') },
    fileParallelism: false,
    testTimeout: 3_600_000,
    hookTimeout: 3_600_000,
  },
});
