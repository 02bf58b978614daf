import type { Command } from 'commander';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import { checkDbc, type DbcReport } from '../../shared/dbc/dbc-check.ts';
import { type OutputFormat, outputOption, show } from '../lib/output.ts';

/** Overlaps that are shown to a person for one file. */
const MAX_SHOWN = 20;

/** `kerb dbc`. */
export function registerDbcCommands(program: Command): void {
  const dbc = program.command('dbc').description('DBC files, before an OBU reads them');
  dbc
    .command('check <file...>')
    .description('check DBC files and print problems with their lines; exit code 1 when there are any')
    .addOption(outputOption())
    .action(async (files: readonly string[], { output }: { readonly output: OutputFormat }) => {
      const reports: DbcReport[] = [];
      for (const file of files) reports.push(await checkDbc(file));
      show(output, reports, (all) => all.flatMap(reportLines));
      const wrong = reports.filter(({ problemCount }) => problemCount > 0);
      if (wrong.length === 0) return;
      const count = wrong.reduce((sum, { problemCount }) => sum + problemCount, 0);
      const what = `${counted(count, 'problem')} in ${wrong.length} of ${counted(files.length, 'file')}`;
      const rest = reports.some(({ messages }) => messages > 0) ? '; what they do not name can be used' : '';
      throw new KerbError(ErrorCode.DbcHasProblems, `${what}${rest}`, { count });
    });
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`;
}

function reportLines({ file, messages, signals, problems, problemCount, overlaps }: DbcReport): string[] {
  const more = problemCount - problems.length;
  return [
    `${file}: ${counted(messages, 'message')}, ${counted(signals, 'signal')}; ${counted(problemCount, 'problem')}`,
    ...problems.map((problem) => `  ${problem}`),
    ...(more > 0 ? [`  and ${more} more`] : []),
    ...overlaps.slice(0, MAX_SHOWN).map((overlap) => `  note: ${overlap}`),
    ...(overlaps.length > MAX_SHOWN ? [`  note: and ${overlaps.length - MAX_SHOWN} more overlaps`] : []),
  ];
}
