import { type Command, Option } from 'commander';
import type { SignalReading, SignalSetReply } from '../../shared/api/obu.ts';
import { type ApiOptions, connectObu, withApi } from '../lib/obu-client.ts';
import { interruptible, type OutputFormat, outputOption, show, showNext, toDuration } from '../lib/output.ts';
import { signalsPath } from '../obu/get-commands.ts';
import { signalLine, signalRows } from './signal-lines.ts';

interface SignalOptions extends ApiOptions {
  readonly output: OutputFormat;
}

interface SetOptions extends SignalOptions {
  /** False with --no-wait. */
  readonly wait: boolean;
  /** Milliseconds. */
  readonly timeout?: number;
}

/** Longer than any actuation may take. */
const LONGEST_WAIT_MS = 70_000;

/** `kerb signal`. */
export function registerSignalCommands(program: Command): void {
  const signal = program.command('signal').description('the signals of a running OBU, as its operator');
  withApi(signal.command('get <path...>').description('values of signals; a branch means all below it'))
    .addOption(outputOption())
    .action(async (paths: readonly string[], { output, ...api }: SignalOptions) => {
      show(output, await (await connectObu(api)).ask<SignalReading[]>(signalsPath(paths)), signalRows);
    });
  withApi(
    signal
      .command('set <path> <value>')
      .description('set an actuator, and wait until the vehicle reports that it is so'),
  )
    .option('--no-wait', 'do not wait; kerb obu get events says when it could not be set')
    .addOption(
      new Option('--timeout <time>', 'longest time to wait (default: as its mapping says)').argParser(toDuration),
    )
    .addOption(outputOption())
    .action(async (path: string, value: string, { output, wait, timeout, ...api }: SetOptions) => {
      const obu = await connectObu(api);
      const query = new URLSearchParams({ wait: wait ? '1' : '0', timeoutMs: String(timeout ?? 0) });
      // The OBU gives up first, and says why.
      const call = { method: 'POST', body: JSON.stringify({ value }), timeoutMs: LONGEST_WAIT_MS } as const;
      const reply = await obu.ask<SignalSetReply>(`/v1/signals/${encodeURIComponent(path)}?${query}`, call);
      show(output, reply, ({ acknowledged }) => {
        if (acknowledged !== undefined) return [signalLine(acknowledged)];
        return [wait ? `${path} is set; nothing acknowledges it` : `${path} is being set`];
      });
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
