import { relative } from 'node:path';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/**
 * What takes longest on a two-core machine, the longest first; what is not named takes a few seconds. A run is as long as
 * its last file, so these may not begin at its end. It says nothing about what a test depends on: none does on another.
 */
export const LONGEST = [
  'test/docker/apply',
  'test/docker/neighbours',
  'test/docker/verbs',
  'test/docker/bundle',
  'test/docker/side-by-side',
  'test/docker/crash',
  'test/tender/aarch64',
  'test/broker/serve',
  'test/docker/survival',
  'test/dashcam/pictures',
  'test/dashcam/recording',
  'test/broker/task-push',
  'test/tender/typescript',
  'test/broker/task-sign',
  'test/docker/workloads',
  'test/docker/update',
  'test/docker/room',
  'test/docker/engine-death',
  'test/dashcam/sources',
  'test/broker/pools',
  'test/tender/task-run',
  'test/tender/tasks',
  'test/broker/random-kills',
  'test/broker/state-kills',
  'test/tender/guests',
  'test/dashcam/failures',
  'test/docker/clock',
  'test/tender/leaks',
  'test/tender/images',
];

const MAIN_JOB = 'test/e2e/main-job';

/**
 * All files in one order, whichever project they are of: the emulated kernel and the main job, which take minutes and wait
 * for much of them; unit tests beside them, so that a plain mistake shows soon; then what takes longest.
 */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = (file: TestSpecification) => {
      const path = relative(this.ctx.config.root, file.moduleId).replace(/\.test\.ts$/, '');
      if (file.project.name === 'kernel') return -3;
      if (path === MAIN_JOB) return -2;
      if (file.project.name === 'unit') return -1;
      const place = LONGEST.indexOf(path);
      return place < 0 ? LONGEST.length : place;
    };
    const sorted = await super.sort(files);
    return sorted.sort((a, b) => rank(a) - rank(b));
  }
}
