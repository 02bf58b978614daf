import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import type { ContainerUsage, Explanation } from '../../shared/api/obu.ts';
import type { OffloadDecision } from '../../shared/api/offload-decision.ts';
import { type ApiOptions, connectObu, withApi } from '../lib/obu-client.ts';
import { type OutputFormat, outputOption, rowsOf, show } from '../lib/output.ts';
import { mebibytes, timeSpan } from '../lib/units.ts';
import { REFRESH_MS, showRepeatedly, withWatch } from '../lib/watch.ts';
import { decisionLines } from './decision-lines.ts';
import { explainLines } from './explain-lines.ts';
import { statusLines } from './status-lines.ts';

interface LookOptions extends ApiOptions {
  readonly output: OutputFormat;
  readonly watch?: boolean;
}

interface ExplainOptions extends LookOptions {
  readonly offload?: string;
}

/** `kerb status`, `kerb top` and `kerb explain`. */
export function registerStatusCommands(program: Command): void {
  const looking = (command: Command) => withApi(command).addOption(outputOption());
  const watching = (command: Command) => withWatch(looking(command));

  watching(program.command('status').description('what a running OBU is doing')).action(
    async ({ output, watch, ...api }: LookOptions) => {
      const obu = await connectObu(api);
      await showRepeatedly(watch, output, () => obu.status(), statusLines);
    },
  );

  watching(program.command('top').description('what the containers of a running OBU use')).action(
    async ({ output, watch, ...api }: LookOptions) => {
      const obu = await connectObu(api);
      const read = () => obu.ask<ContainerUsage[]>('/v1/usage', { timeoutMs: 5000 });
      let before = await read();
      // CPU use is the difference of two samples.
      await sleep(REFRESH_MS);
      const look = async () => {
        const now = await read();
        const rows = usageRows(before, now);
        before = now;
        return rows;
      };
      await showRepeatedly(watch, output, look, topLines);
    },
  );

  looking(program.command('explain [workload]'))
    .description('why a workload is in its state, or an offload went where it did, with the numbers')
    .option('--offload <id>', 'an offload instead of a workload: its id, or "last"')
    .action(async (workload: string | undefined, { output, offload, ...api }: ExplainOptions, command: Command) => {
      if ((workload === undefined) === (offload === undefined))
        command.error('error: name either a workload, or an offload with --offload ID');
      if (offload !== undefined) {
        const from = `/v1/offload-decision?id=${encodeURIComponent(offload)}`;
        show(output, await (await connectObu(api)).ask<OffloadDecision>(from, { timeoutMs: 5000 }), decisionLines);
        return;
      }
      const path = `/v1/workloads/${encodeURIComponent(workload!)}`;
      show(output, await (await connectObu(api)).ask<Explanation>(path, { timeoutMs: 5000 }), explainLines);
    });
}

export interface UsageRow {
  readonly workload: string;
  readonly container: string;
  /** Percent of one CPU, since the look before. */
  readonly cpuPercent: number;
  /** CPUs and bytes; 0: no limit. */
  readonly cpuLimit: number;
  readonly memory: number;
  readonly memoryLimit: number;
  readonly threads: number;
  readonly upMs: number;
}

/** Sorted by CPU use, largest first. */
export function usageRows(before: readonly ContainerUsage[], now: readonly ContainerUsage[]): UsageRow[] {
  const rows = now.map((one): UsageRow => {
    // One that was not there before has used all that it has used since its start.
    const last = before.find(({ id }) => id === one.id) ?? { timeMs: one.startedAtMs, cpu: { total: 0 } };
    const elapsedMs = one.timeMs - last.timeMs;
    return {
      workload: one.workload,
      container: one.container,
      cpuPercent: elapsedMs <= 0 ? 0 : Math.max(0, (100_000 * (one.cpu.total - last.cpu.total)) / elapsedMs),
      cpuLimit: one.cpuLimit,
      memory: one.memory.workingSet,
      memoryLimit: one.memory.limit,
      threads: one.threads,
      upMs: Math.max(0, one.timeMs - one.startedAtMs),
    };
  });
  return rows.sort((a, b) => b.cpuPercent - a.cpuPercent || (a.container < b.container ? -1 : 1));
}

export function topLines(rows: readonly UsageRow[]): string[] {
  return rowsOf(
    ['WORKLOAD', 'CPU', 'OF', 'MEMORY', 'OF', 'THREADS', 'UP'],
    rows.map((row) => [
      row.workload,
      `${row.cpuPercent.toFixed(1)} %`,
      row.cpuLimit === 0 ? 'no limit' : `${100 * row.cpuLimit} %`,
      mebibytes(row.memory),
      row.memoryLimit === 0 ? 'no limit' : mebibytes(row.memoryLimit),
      String(row.threads),
      timeSpan(row.upMs),
    ]),
    'no container runs, or the engine does not answer',
  );
}
