import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Kerb } from '../support/kerb/kerb.ts';

const top = join(import.meta.dirname, '../..');
let root: string;
const commands = new Kerb();
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'kerb-build-'));
});
afterAll(() => {
  commands.stop();
  rmSync(root, { recursive: true, force: true });
});

async function kerb(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const { code, out, err } = await commands.run(args);
  return { code, stdout: out, stderr: err };
}

test('the same sources give the same digest, wherever they lie', async () => {
  const elsewhere = join(root, 'another place', 'echo');
  cpSync(join(top, 'examples/tasks/echo'), elsewhere, { recursive: true });
  const first = await kerb('task', 'build', join(top, 'examples/tasks/echo'), '-o', join(root, 'one'));
  const second = await kerb('task', 'build', elsewhere);
  expect(first.stderr).toBe('');
  expect(first.stdout).toMatch(/^sha256:[0-9a-f]{64}\n$/);
  expect(second.stdout).toBe(first.stdout);
  const { stdout } = await kerb('task', 'inspect', join(elsewhere, 'package'));
  expect(stdout).toContain(`digest     ${first.stdout}name       echo\nversion    1.0.0\n`);
});

test("the compiler's own words reach the user, and nothing is packaged", async () => {
  const dir = join(root, 'broken');
  cpSync(join(top, 'examples/tasks/echo'), dir, { recursive: true });
  writeFileSync(join(dir, 'echo.c'), '#include <kerbside/task.h>\nint kerb_task(void) { return oops; }\n');
  // A process of its own: the compiler writes to its standard error.
  const { status, stderr } = spawnSync(
    process.execPath,
    [join(top, 'cli/kerb.ts'), 'task', 'build', dir, '-o', join(root, 'none')],
    { encoding: 'utf8' },
  );
  expect(status).toBe(1);
  expect(stderr).toMatch(/echo\.c:2:\d+: error: .*oops/);
  expect(stderr).toMatch(/does not build \(see above; exit code 1\) \[1009 BadTaskPackage\]\n$/);
  expect(existsSync(join(root, 'none'))).toBe(false);
});

test('a task without a name and sizes of its own is told what is missing', async () => {
  const dir = join(root, 'nameless');
  cpSync(join(top, 'examples/tasks/echo'), dir, { recursive: true });
  writeFileSync(
    join(dir, 'echo.c'),
    '#include <kerbside/task.h>\nint kerb_task(const uint8_t *i, size_t n, uint8_t *o, size_t c, size_t *s) {\n  (void)i; (void)n; (void)o; (void)c; (void)s;\n  return 0;\n}\n',
  );
  const { code, stderr } = await kerb('task', 'build', dir, '-o', join(root, 'none'));
  expect(code).toBe(1);
  expect(stderr).toMatch(/KERB_TASK/);
});

test.each(['riscv64', 'x86_64,', ''])('--arch %j is a usage error that names what there is', async (list) => {
  const { code, stderr } = await kerb('task', 'build', join(top, 'examples/tasks/echo'), '--arch', list);
  expect(code).toBe(2);
  expect(stderr).toMatch(/must be one of x86_64, aarch64/);
});
