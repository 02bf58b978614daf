import { type Command, Option } from 'commander';
import type { LogLine } from '../../shared/api/obu.ts';
import { type ApiOptions, connectObu, withApi } from '../lib/obu-client.ts';
import { interruptible, type OutputFormat, outputOption, print, progress, showNext, toCount } from '../lib/output.ts';

interface LogsOptions extends ApiOptions {
  readonly output: OutputFormat;
  readonly follow?: boolean;
  readonly lines?: number;
  readonly timestamps?: boolean;
}

/** `kerb logs`: to standard output what the workload wrote there, and to standard error the rest. */
export function registerLogsCommand(program: Command): void {
  withApi(
    program
      .command('logs <workload>')
      .description('print the output of a workload: of its container, or the last lines of the one before'),
  )
    .option('-f, --follow', 'follow the output, also of the containers that replace this one, until Ctrl-C')
    .addOption(new Option('-n, --lines <n>', 'only the last N lines').argParser(toCount))
    .option('-t, --timestamps', 'print the time in front of each line')
    .addOption(outputOption())
    .action(async (workload: string, { follow, lines, timestamps, output, ...api }: LogsOptions) => {
      const obu = await connectObu(api);
      const query = new URLSearchParams();
      if (follow) query.set('follow', '1');
      if (lines !== undefined) query.set('tail', String(lines));
      const path = `/v1/workloads/${encodeURIComponent(workload)}/logs?${query}`;
      await interruptible(async (stop) => {
        let container = '';
        for await (const line of obu.follow<LogLine>(path, stop)) {
          if (container !== '' && line.container !== container) progress(`kerb: ${workload} is in a new container`);
          container = line.container;
          if (output === 'table') writeLine(line, timestamps);
          else showNext(output, line, () => []);
        }
      });
    });
}

function writeLine({ time, stream, text }: LogLine, timestamps = false): void {
  const line = timestamps ? `${time} ${text}` : text;
  if (stream === 'stdout') print(line);
  else progress(line);
}
