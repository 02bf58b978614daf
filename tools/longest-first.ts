import { relative } from 'node:path';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/**
 * What takes longest on a two-core machine, the longest first; what is not named takes a few seconds. A run is as long as
 * its last file, so these may not begin at its end. It says nothing about what a test depends on: none does on another.
 */
export const LONGEST = [
  'test/docker/neighbours',
  'test/tender/typescript',
  'test/tender/aarch64',
  'test/docker/apply',
  'test/docker/bundle',
  'test/dashcam/recording',
  'test/tender/task-run',
  'test/tender/leaks',
  'test/tender/images',
  'test/e2e/main-job',
  'test/docker/clock',
  'test/docker/crash',
  'test/docker/workloads',
  'test/docker/survival',
  'test/docker/verbs',
  'test/docker/update',
  'test/docker/side-by-side',
  'test/docker/engine-death',
  'test/tender/tasks',
  'test/tender/guests',
  'test/dashcam/failures',
  'test/dashcam/sources',
  'test/docker/room',
];

/**
 * All files in one order, whichever project they are of: the emulated kernel, which is there from the first to nearly the
 * last moment; unit tests, so that a plain mistake shows within a minute; then what takes longest.
 */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = (file: TestSpecification) => {
      const path = relative(this.ctx.config.root, file.moduleId).replace(/\.test\.ts$/, '');
      if (file.project.name === 'kernel') return -2;
      if (file.project.name === 'unit') return -1;
      const place = LONGEST.indexOf(path);
      return place < 0 ? LONGEST.length : place;
    };
    const sorted = await super.sort(files);
    return sorted.sort((a, b) => rank(a) - rank(b));
  }
}
