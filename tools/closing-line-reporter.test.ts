import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { isLong } from '../test/support/rounds.ts';

const top = join(import.meta.dirname, '..');

const TESTS = `
import { beforeAll, describe, expect, it } from 'vitest';
import { describeWhere, notRun } from '${top}/test/support/machine/not-run.ts';
notRun('a measurement', 'no clock\\nof that kind');
notRun('a measurement', 'no clock\\nof that kind');
describeWhere('no device', 'a device', () => {
  beforeAll(() => { throw new Error('is not run'); });
  describe('inside', () => { it('counts as skipped', () => {}); });
});
describeWhere(undefined, 'what is there', () => { it('passes', () => {}); });
it('needs root', (context) => context.skip('only root can'));
it.skip('says nothing', () => {});
`;
const FAILURES = `
import { beforeAll, describe, it } from 'vitest';
describe('a suite whose hook fails', () => {
  beforeAll(() => { throw new Error('hook'); });
  it('is not green', () => {});
});
it('fails', () => { throw new Error('test'); });
`;

describe('the closing lines', () => {
  let folder: string;
  beforeAll(() => {
    // Below the top, so that vitest is found.
    folder = mkdtempSync(join(top, 'build/closing-line-'));
    writeFileSync(join(folder, 'vitest.config.mjs'), 'export default {};\n');
  });
  beforeEach(() => vi.stubEnv('KERB_TEST_SLOWEST', undefined));
  afterEach(() => vi.unstubAllEnvs());
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  /** The lines of a run of vitest with this reporter alone. */
  function run(tests: string, ...args: string[]): { lines: string[]; status: number | null } {
    writeFileSync(join(folder, 'some.test.ts'), tests);
    const reporter = join(top, 'tools/closing-line-reporter.ts');
    const child = spawnSync(
      process.execPath,
      [join(top, 'node_modules/vitest/vitest.mjs'), 'run', '--root', folder, '--reporter', reporter, ...args],
      { encoding: 'utf8', env: { ...process.env, NO_COLOR: '1' } },
    );
    return { lines: child.stdout.trimEnd().split('\n'), status: child.status };
  }

  it('name once what was not run, with the reason', () => {
    const { lines, status } = run(TESTS);
    expect(status).toBe(0);
    expect(lines).toEqual([
      'not run: a measurement: no clock of that kind',
      'not run: a device: no device',
      'not run: needs root: only root can',
      'not run: says nothing: it was skipped without a reason',
      '1 passed, 0 failed, 3 skipped',
    ]);
  });

  // Each run of vitest takes a second of a core.
  if (isLong) {
    it('come after the slowest files when these are asked for', () => {
      vi.stubEnv('KERB_TEST_SLOWEST', '3');
      const { lines } = run("import { it } from 'vitest';\nit('passes', () => {});");
      expect(lines).toEqual([
        expect.stringMatching(/^ *\d+\.\d s {2}.*some\.test\.ts$/),
        '1 passed, 0 failed, 0 skipped',
      ]);
    });
  }

  it('come with an exit code of 1 when one lane of several fails, and count all of them', () => {
    const config = join(folder, 'lanes.config.mjs');
    const lanes = ['well', 'ill'].map((name) => ({ test: { name, include: [`${name}.test.ts`] } }));
    writeFileSync(config, `export default ${JSON.stringify({ test: { projects: lanes } })};\n`);
    const passes = "import { it } from 'vitest';\nit('passes', () => {});\n";
    writeFileSync(join(folder, 'well.test.ts'), passes);
    writeFileSync(join(folder, 'ill.test.ts'), FAILURES);
    const failed = run(passes, '--config', config);
    expect([failed.lines.at(-1), failed.status]).toEqual(['1 passed, 2 failed, 1 skipped', 1]);
    if (!isLong) return;
    writeFileSync(join(folder, 'ill.test.ts'), passes);
    const good = run(passes, '--config', config);
    expect([good.lines.at(-1), good.status]).toEqual(['2 passed, 0 failed, 0 skipped', 0]);
    // A lane without its files is no lane that passes.
    rmSync(join(folder, 'ill.test.ts'));
    rmSync(join(folder, 'well.test.ts'));
    expect(run(passes, '--config', config).status).toBe(1);
  }, 120_000);

  // Each run of vitest takes a second of a core.
  if (isLong) {
    it('do not complain about tests that a filter left out', () => {
      expect(run(TESTS, '-t', 'passes').lines.at(-1)).toBe('1 passed, 0 failed, 3 skipped');
      expect(run(TESTS, '-t', 'passes').lines.join('\n')).not.toContain('without a reason');
    });
  }

  // Each run of vitest takes a second of a core.
  if (isLong) {
    it('count a hook, a file and an error that fail outside of a test', () => {
      const hook = run(FAILURES);
      expect([hook.lines.at(-1), hook.status]).toEqual(['0 passed, 2 failed, 1 skipped', 1]);
      expect(hook.lines.join('\n')).not.toContain('without a reason');
      const file = run("throw new Error('on load');");
      expect([file.lines.at(-1), file.status]).toEqual(['0 passed, 1 failed, 0 skipped', 1]);
      const stray = run("import { it } from 'vitest';\nit('x', () => { Promise.reject(new Error('stray')); });");
      expect([stray.lines.at(-1), stray.status]).toEqual(['1 passed, 1 failed, 0 skipped', 1]);
    }, 120_000);
  }
});
