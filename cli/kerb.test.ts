import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, it } from 'vitest';

const kerb = (...args: string[]) =>
  spawnSync(process.execPath, [join(import.meta.dirname, 'kerb.ts'), ...args], { encoding: 'utf8' });

it.each([
  [['logs'], "missing required argument 'workload'", 'kerb logs --help'],
  [['obu', 'get', 'workloads', '-o', 'xml'], 'is invalid', 'kerb obu get workloads --help'],
  [['obu', 'gte'], "unknown command 'gte'", 'kerb obu --help'],
  [['nonsense'], "unknown command 'nonsense'", 'kerb --help'],
])('wrong usage of %s says where its help is', (args, what, where) => {
  const { status, stderr } = kerb(...args);
  expect(status).toBe(2);
  expect(stderr).toContain(what);
  expect(stderr).toContain(`(${where}`);
});
