/**
 * Loads every source of the daemons once, so that Node's compile cache has them (see bin/kerb): a daemon that finds one
 * missing carries the TypeScript compiler for the rest of its life. Run by set-up, with NODE_COMPILE_CACHE set.
 */
import { globSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');
// Tests, and what belongs to other compilers.
const exclude = [
  '**/*.test.ts',
  '**/test-*.ts',
  '**/*.d.ts',
  '**/node_modules/**',
  'broker/unikernel/**',
  'cli/kerb.ts',
];
for (const file of globSync('{cli,obu,broker,shared,sim}/**/*.ts', { cwd: root, exclude }))
  await import(join(root, file));
process.exit(0); // which writes the cache; whatever a module has begun ends here
