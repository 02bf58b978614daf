import type { Command } from 'commander';
import { workloadWhy } from '../../obu/api/workload-why.ts';
import type { GrantStatus, ObuEvent, SignalReading } from '../../shared/api/obu.ts';
import type { WorkloadStatus } from '../../shared/api/status.ts';
import { stateWord } from '../../shared/api/workload-state.ts';
import { eventLine } from '../lib/event-lines.ts';
import { type ApiOptions, connectObu, withApi } from '../lib/obu-client.ts';
import { interruptible, type OutputFormat, outputOption, rowsOf, show, showNext } from '../lib/output.ts';
import { signalRows } from '../signal/signal-lines.ts';

interface GetOptions extends ApiOptions {
  readonly output: OutputFormat;
}

/** `kerb obu get workloads`, `signals`, `grants` and `events`. */
export function registerGetCommands(get: Command): void {
  const listing = (name: string, description: string) =>
    withApi(get.command(name).description(description)).addOption(outputOption());

  listing('workloads', 'the workloads and their states').action(async ({ output, ...api }: GetOptions) => {
    const { workloads } = await (await connectObu(api)).status();
    show(output, workloads, workloadRows);
  });

  listing('signals [path...]', 'signals with their values; a branch means all below it').action(
    async (paths: readonly string[], { output, ...api }: GetOptions) => {
      const readings = await (await connectObu(api)).ask<SignalReading[]>(signalsPath(paths));
      show(output, readings, signalRows);
    },
  );

  listing('grants', 'what each workload may touch').action(async ({ output, ...api }: GetOptions) => {
    const grants = await (await connectObu(api)).ask<GrantStatus[]>('/v1/grants');
    show(output, grants, (all) =>
      rowsOf(
        ['WORKLOAD', 'KIND', 'WHAT', 'MAY'],
        all.map(({ workload, kind, what, may }) => [workload, kind, what, may]),
        'no workload is granted anything',
      ),
    );
  });

  listing('events', 'recent events, since the start of the OBU')
    .option('-w, --watch', 'watch: print new events as they happen, until Ctrl-C')
    .option('--name <name>', 'only events of this workload, bus, camera or place')
    .action(async ({ output, watch, name, ...api }: GetOptions & { watch?: boolean; name?: string }) => {
      const obu = await connectObu(api);
      const query = name === undefined ? '' : `&name=${encodeURIComponent(name)}`;
      if (watch) {
        await interruptible(async (signal) => {
          for await (const event of obu.follow<ObuEvent>(`/v1/events?follow=1${query}`, signal))
            showNext(output, event, (one) => [eventLine(one)]);
        });
        return;
      }
      const events = await obu.ask<ObuEvent[]>(`/v1/events?after=0${query}`);
      show(output, events, (all) => (all.length === 0 ? ['nothing has happened yet'] : all.map(eventLine)));
    });
}

function workloadRows(workloads: readonly WorkloadStatus[]): string[] {
  return rowsOf(
    ['WORKLOAD', 'PRIORITY', 'STATE', 'RESTARTS', 'IMAGE', 'WHY'],
    workloads.map((one) => [
      ...[one.name, String(one.priority), stateWord(one), String(one.restarts), one.image, workloadWhy(one)],
    ]),
    'no workloads: give the OBU a manifest with kerb obu apply FILE',
  );
}

export function signalsPath(paths: readonly string[], follow = false): string {
  const query = new URLSearchParams();
  for (const path of paths) query.append('path', path);
  if (follow) query.set('follow', '1');
  return `/v1/signals?${query}`;
}
