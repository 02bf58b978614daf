import type { Command } from 'commander';
import type { SignalReading } from '../../shared/api/obu.ts';
import { signalsPath } from './get-commands.ts';
import { type ApiOptions, connectObu, withApi } from './obu-client.ts';
import { interruptible, type OutputFormat, outputOption, show, showNext } from './output.ts';
import { signalLine, signalRows } from './signal-lines.ts';

interface SignalOptions extends ApiOptions {
  readonly output: OutputFormat;
}

/** `kerb signal`. */
export function registerSignalCommands(program: Command): void {
  const signal = program.command('signal').description('the signals of a running OBU, as its operator');
  withApi(signal.command('get <path...>').description('values of signals; a branch means all below it'))
    .addOption(outputOption())
    .action(async (paths: readonly string[], { output, ...api }: SignalOptions) => {
      show(output, await (await connectObu(api)).ask<SignalReading[]>(signalsPath(paths)), signalRows);
    });
  withApi(signal.command('subscribe <path...>').description('values as they come, until Ctrl-C'))
    .addOption(outputOption())
    .action(async (paths: readonly string[], { output, ...api }: SignalOptions) => {
      const obu = await connectObu(api);
      await interruptible(async (stop) => {
        for await (const reading of obu.follow<SignalReading>(signalsPath(paths, true), stop))
          showNext(output, reading, (one) => [signalLine(one)]);
      });
    });
}
