import { writeFile } from 'node:fs/promises';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { WISHED_ISOLATIONS, type WishedIsolation } from '../../broker/tenders/process/tender.ts';
import { ErrorCode, isKerbError, KerbError, messageOf } from '../../shared/base/errors.ts';
import { parseDuration } from '../../shared/text/duration.ts';
import { readInput } from '../lib/input.ts';
import { registerTaskPushCommands } from './push-commands.ts';

interface RunOptions {
  readonly input?: string;
  readonly output?: string;
  readonly budget: number;
  readonly isolation: WishedIsolation;
}

/** Adds to the verb `task` of shared/task-package what takes a tender or a broker. */
export function registerBrokerTaskCommands(program: Command): void {
  const task = program.commands.find((command) => command.name() === 'task') ?? program.command('task');
  task
    .command('run <task>')
    .description('run a task once in a tender of this machine, without a broker: a folder, a package or an image')
    .option('-i, --input <file>', 'its input, - for standard input (default: an empty one)')
    .option('-o, --output <file>', 'where its output goes (default: standard output)')
    .option('--budget <time>', 'its time budget, like 500ms', parseBudget, 500)
    .addOption(new Option('--isolation <how>', 'isolation to run it in').choices(WISHED_ISOLATIONS).default('auto'))
    .action(run);
  registerTaskPushCommands(task);
}

async function run(task: string, options: RunOptions): Promise<void> {
  const { runTask } = await import('./run.ts');
  const input = await readInput(options.input);
  const { output, outcome, isolation } = await runTask(task, input, options.budget, options.isolation).catch(
    (error: unknown) => {
      if (isKerbError(error)) printLog(error.context.log);
      throw error;
    },
  );
  if (options.output === undefined) {
    process.stdout.write(output);
  } else {
    await writeFile(options.output, output).catch((cause: unknown) => {
      throw new KerbError(
        ErrorCode.BadConfig,
        `cannot write the output to ${options.output}: ${messageOf(cause)}`,
        { path: options.output },
        { cause },
      );
    });
  }
  printLog(outcome.log);
  const { status, runMs, cpuMs, peakMemory } = outcome;
  process.stderr.write(
    `status ${status}, isolation ${isolation}, ran ${runMs.toFixed(3)} ms (processor ${cpuMs.toFixed(3)} ms), ${peakMemory / 1024} KiB of memory used, ${output.length} bytes of output\n`,
  );
}

function printLog(log: unknown): void {
  if (typeof log === 'string' && log !== '') process.stderr.write(log.endsWith('\n') ? log : `${log}\n`);
}

function parseBudget(text: string): number {
  try {
    const budget = parseDuration(text);
    if (budget > 0) return budget;
  } catch (error) {
    throw new InvalidArgumentError(messageOf(error));
  }
  throw new InvalidArgumentError('a budget is longer than nothing');
}
