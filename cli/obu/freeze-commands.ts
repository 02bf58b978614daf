import { type Command, Option } from 'commander';
import type { Explanation } from '../../shared/api/obu.ts';
import { stateWord } from '../../shared/api/workload-state.ts';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import { pause } from '../../shared/base/pause.ts';
import { type ApiOptions, connectObu, type ObuClient, withApi } from '../lib/obu-client.ts';
import { interruptible, print, toDuration } from '../lib/output.ts';

const POLL_MS = 200;

interface FreezeOptions extends ApiOptions {
  /** False with --no-wait. */
  readonly wait: boolean;
  /** Milliseconds. */
  readonly timeout: number;
}

/** `kerb freeze` and `kerb thaw`. */
export function registerFreezeCommands(program: Command): void {
  const waiting = (command: Command) =>
    withApi(command)
      .option('--no-wait', 'do not wait for the new state')
      .addOption(new Option('--timeout <time>', 'longest time to wait').argParser(toDuration).default(30_000, '30s'));

  waiting(program.command('freeze <workload>'))
    .description('stop the processes of a workload where they are, until it is thawed; its memory stays')
    .action((workload: string, options: FreezeOptions) => {
      const isFrozen = ({ workload: { state }, containers }: Explanation) =>
        state === 'Frozen' && containers.every((one) => one.state !== 'running');
      return change(workload, 'freeze', isFrozen, options);
    });

  waiting(program.command('thaw <workload>'))
    .description('let a frozen workload go on, when there is room for it')
    .action((workload: string, options: FreezeOptions) => {
      const isThawed = ({ workload: { state }, containers }: Explanation) =>
        state !== 'Frozen' && containers.every((one) => one.state !== 'paused');
      return change(workload, 'thaw', isThawed, options);
    });
}

async function change(
  workload: string,
  verb: 'freeze' | 'thaw',
  isSo: (now: Explanation) => boolean,
  { wait, timeout, ...api }: FreezeOptions,
): Promise<void> {
  const obu = await connectObu(api);
  const path = `/v1/workloads/${encodeURIComponent(workload)}`;
  await obu.ask(`${path}/${verb}`, { method: 'POST' });
  if (!wait) return;
  const now = await interruptible((signal) => until(obu, path, isSo, timeout, signal));
  const { state, detail, reason } = now.workload;
  if (isSo(now)) {
    print(`${workload}: ${stateWord({ state, detail })}: ${reason}`);
    return;
  }
  const message = `${workload} is asked to ${verb}, and is still ${stateWord({ state, detail })}: ${reason}; this continues, kerb explain ${workload} shows how`;
  throw new KerbError(ErrorCode.NotReached, message, { workload });
}

/** How it is when it is so, the time is over, or somebody interrupts. */
async function until(
  obu: ObuClient,
  path: string,
  isSo: (now: Explanation) => boolean,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<Explanation> {
  const endMs = performance.now() + timeoutMs;
  for (;;) {
    const now = await obu.ask<Explanation>(path, { timeoutMs: 5000 });
    if (isSo(now) || signal.aborted || performance.now() > endMs) return now;
    await pause(POLL_MS, signal); // interrupted: it is looked once more
  }
}
