import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { ErrorCode, KerbError, messageOf } from '../../shared/base/errors.ts';
import { runKerb } from './child.ts';

/** The example tasks that the example workloads offload to. */
const TASKS = ['dashcam-filter', 'aggregate'];
const WORKLOADS = ['drive-log', 'lane-filter'];

export interface ProductOptions {
  /** Folder of the installation: examples. */
  readonly root: string;
  readonly signal: AbortSignal;
  /** Called before each step. @throws KerbError Cancelled */
  readonly announce: (step: string) => void;
}

/**
 * Packages and signs the example tasks. One that cannot be packaged is announced, and left out.
 * @param packages folder for the packages
 * @param signer folder of the signer's key
 * @returns digest by task
 * @throws KerbError Cancelled
 */
export async function packageTasks(
  packages: string,
  signer: string,
  { root, signal, announce }: ProductOptions,
): Promise<Record<string, string>> {
  const folder = join(root, 'examples', 'tasks');
  const digests: Record<string, string> = {};
  for (const task of readdirSync(folder).sort()) {
    if (!TASKS.includes(task)) continue;
    announce(`tasks: packaging ${task}`);
    try {
      const out = await runKerb(['task', 'build', join(folder, task), '-o', join(packages, task)], { signal });
      const digest = /sha256:[0-9a-f]{64}/.exec(out)?.[0];
      if (!digest)
        throw new KerbError(ErrorCode.SimulatorFailed, `'kerb task build ${task}' printed no digest: ${out}`);
      await runKerb(['task', 'sign', join(packages, task), '--key', signer], { signal });
      digests[task] = digest;
    } catch (error) {
      if (signal.aborted) throw error;
      announce(`tasks: going on without ${task}, which cannot be packaged: ${messageOf(error).split('\n')[0]}`);
    }
  }
  return digests;
}

/**
 * Builds the images of the example workloads.
 * @param engine host of the Docker Engine
 * @param onLine called with each line that the engine prints
 * @throws KerbError SimulatorFailed | Cancelled
 */
export async function buildImages(
  engine: string,
  { root, signal, announce }: ProductOptions,
  onLine: (line: string) => void,
): Promise<void> {
  for (const workload of WORKLOADS) {
    announce(`images: building ${workload}:1 (nothing is pulled; the first time takes a while)`);
    const folder = join(root, 'examples', 'workloads', workload);
    await runKerb(['image', 'build', folder, '--tag', `${workload}:1`, '--engine', engine], {
      signal,
      onLine: (line) => onLine(`images: ${line}`),
    });
  }
}
