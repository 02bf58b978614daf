import { stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describeEnd } from '../../broker/tenders/process/describe-end.ts';
import type { TenderOutcome, WishedIsolation } from '../../broker/tenders/process/tender.ts';
import { TenderProcess } from '../../broker/tenders/process/tender-process.ts';
import { buildTask } from '../../broker/unikernel/toolchain/build-task.ts';
import { ErrorCode, isErrno, KerbError } from '../../shared/base/errors.ts';
import { silentLog } from '../../shared/base/log.ts';
import { readFault } from '../../shared/host/read-fault.ts';
import { withWorkFolder } from '../../shared/host/work-folder.ts';
import { hostArchitecture } from '../../shared/task-package/architecture.ts';
import { LAYOUT_FILE, type TaskConfig } from '../../shared/task-package/format.ts';
import { readImage, readTaskPackage } from '../../shared/task-package/reader.ts';
import { readReply, withState } from '../../shared/task-package/state-frame.ts';

export type DoneOutcome = Extract<TenderOutcome, { outcome: 'done' }>;

/**
 * Runs a task once in a tender: the image `path`, the image of the package `path`, or the task whose source is in the
 * folder `path`, built for this run.
 * @throws KerbError BadTaskPackage, TaskPackageDigestMismatch, WrongArchitecture, ImageRefused, TenderUnavailable,
 * TenderInputTooLarge, and for every end of the task but status 0: TaskRefusedInput, GuestAborted, GuestFault,
 * GuestDeadline, GuestBadOutput. TenderUnavailable also when the package demands another isolation than `isolation`. The log of such a call goes along as `context.log`.
 */
export async function runTask(
  path: string,
  input: Uint8Array,
  budgetMs: number,
  isolation: WishedIsolation = 'auto',
): Promise<{ output: Buffer; outcome: DoneOutcome; isolation: string }> {
  return await withWorkFolder('kerb-run-', async (work) => {
    const { imagePath, config } = await imageOf(path, work);
    const tender = new TenderProcess({ imagePath, log: silentLog(), isolation: isolationOf(config, isolation) });
    try {
      await tender.start();
      const state = config?.state;
      // A session that begins here, and ends here.
      const outcome = await tender.call(state === undefined ? input : withState(undefined, input), budgetMs);
      if (outcome.outcome === 'done' && outcome.status === 0) {
        const { output } = state === undefined ? outcome : readReply(tender.image.name, outcome.output, state);
        return { output, outcome, isolation: tender.isolation };
      }
      const { code, message } = describeEnd(tender.image.name, outcome);
      throw new KerbError(code, message, { path, log: outcome.log });
    } finally {
      await tender.stop();
    }
  });
}

/** What the package demands, as a broker keeps to it; an image by itself demands nothing. */
function isolationOf(config: TaskConfig | undefined, wished: WishedIsolation): WishedIsolation {
  if (config === undefined || config.isolation === 'any' || config.isolation === wished) return wished;
  if (wished === 'auto') return config.isolation;
  throw new KerbError(
    ErrorCode.TenderUnavailable,
    `task ${config.name} ${config.version} demands isolation ${config.isolation}, and ${wished} was asked for; leave out --isolation, or change its task.yaml`,
  );
}

/**
 * The image file behind what the user named, and what its package says of it. What has to be made for it is put into
 * `work`.
 */
async function imageOf(path: string, work: string): Promise<{ imagePath: string; config?: TaskConfig }> {
  const found = await stat(path).catch((cause: unknown) => {
    const why = isErrno(cause, 'ENOENT') ? 'does not exist' : `cannot be read: ${readFault(cause)}`;
    throw new KerbError(ErrorCode.BadTaskPackage, `${path} ${why}; name a task's folder, package or image`, { path });
  });
  if (!found.isDirectory()) return { imagePath: path };
  let dir = path;
  const isPackage = await stat(join(path, LAYOUT_FILE)).then(
    () => true,
    () => false,
  );
  if (!isPackage) {
    dir = join(work, 'package');
    await buildTask(path, dir);
  }
  const taskPackage = await readTaskPackage(dir);
  const imagePath = join(work, 'image.elf');
  await writeFile(imagePath, await readImage(taskPackage, hostArchitecture() ?? process.arch), { mode: 0o400 });
  return { imagePath, config: taskPackage.config };
}
