/** The main job on a whole emulated arm64 machine: Debian's kernel, compiler, ffmpeg and Docker Engine, and Node of arm64. */
import { beforeAll, describe, expect, it } from 'vitest';
import { notRun } from '../support/machine/not-run.ts';
import { Arm64Machine, arm64Trouble } from './arm64/arm64-machine.ts';

const trouble = arm64Trouble();
if (trouble !== undefined) notRun('main job on an arm64 machine', trouble);

describe('arm64', { skip: trouble !== undefined, meta: { notRun: trouble } }, () => {
  const machine = new Arm64Machine();
  beforeAll(() => machine.prepare());

  it('builds everything and runs the main job: broker, OBU, containers, offloads', async () => {
    const output = await machine.run('main-job.sh');
    expect(output).toMatch(/^Linux .* aarch64 GNU\/Linux$/m);
    expect(output).toContain('set-up ended with 0');
    expect(output).toContain('KERBSIDE-DONE 0');
    expect(output).toContain('result: OK');
    const [, offloads] = /broker rsu-1, since it started: (\d+) ok/.exec(output)!;
    expect(Number(offloads)).toBeGreaterThan(0);
  });
});
