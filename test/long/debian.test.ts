/**
 * The main job and the task kit in an empty copy of this tree, on each Debian that the README names, with that Debian's own
 * Node, compiler, wabt, ffmpeg and Docker Engine. The roots are made with debootstrap and kept in build/long (or
 * KERB_LONG_ROOTS).
 */
import { beforeAll, describe, expect, it } from 'vitest';
import { notRun } from '../support/machine/not-run.ts';
import { NOT_RUN } from '../support/machine/not-run-prefix.ts';
import { DebianRoot, rootTrouble } from './debian-root.ts';

const TASK_KIT = [
  'test/tender/typescript.test.ts',
  'test/tender/aqi.test.ts',
  'test/tender/tasks.test.ts',
  'test/tender/task-run.test.ts',
  'test/tender/aarch64.test.ts',
  'test/broker/task-build.test.ts',
];

const trouble = rootTrouble();
if (trouble !== undefined) notRun('main job and task kit on Debian 12 and 13', trouble);

describe.each([
  ['bookworm', 12],
  ['trixie', 13],
] as const)('Debian %s', { skip: trouble !== undefined, meta: { notRun: trouble } }, (suite, version) => {
  const root = trouble === undefined ? new DebianRoot(suite) : undefined;
  beforeAll(() => root!.prepare());

  it('runs the main job from nothing', async () => {
    expect(Number.parseInt(root!.version, 10)).toBe(version);
    const output = await root!.run('npm start -- --for 20s');
    expect(output).toContain('result: OK');
    expect(output).not.toContain('going on without');
    expect(root!.mounts).toEqual([]);
  });

  it('builds and runs tasks, in C and TypeScript, for both machines', async () => {
    const output = await root!.run(
      `sh tools/setup.sh test && PATH=$PWD/node_modules/.bin:$PATH vitest run --project tenders ${TASK_KIT.join(' ')}`,
    );
    for (const line of output.split('\n')) {
      if (line.startsWith(NOT_RUN)) notRun(`Debian ${version}: ${line.slice(NOT_RUN.length)}`, 'in its own run');
    }
    expect(output).toMatch(/^[1-9]\d* passed, 0 failed, \d+ skipped$/m);
  });

  it('goes on without a task in TypeScript where wasm2c is of a version that nobody knows', async () => {
    const known = await root!.run(
      [
        "printf '#!/bin/sh\\necho 9.9.9\\n' >/usr/local/bin/wasm2c && chmod +x /usr/local/bin/wasm2c",
        'rm -f build/unikernel/tasks/aqi*.elf && (sh tools/setup.sh start; echo "status $?"); rm /usr/local/bin/wasm2c',
      ].join(' && '),
    );
    expect(known).toContain('status 0');
    // One line for each of the two.
    const named = known.split('\n').filter((line) => line.includes('aqi'));
    expect(named).toEqual([expect.stringContaining('9.9.9'), expect.stringContaining('9.9.9')]);
    expect(root!.has('build/unikernel/tasks/aqi.elf')).toBe(false);
    expect(root!.has('build/unikernel/tasks/dashcam-filter.elf')).toBe(true);
  });
});
