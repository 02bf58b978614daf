import type { Command } from 'commander';
import type { DrainStatus } from '../../shared/api/status.ts';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import { pause } from '../../shared/base/pause.ts';
import { interruptible, type OutputFormat, outputOption, progress, show, toDuration } from '../lib/output.ts';
import { timeSpan } from '../lib/units.ts';
import { type BrokerApiOptions, connectBroker, withBrokerApi } from './broker-client.ts';
import { drainLines } from './broker-lines.ts';

/** How often it is asked whether all has ended, in milliseconds. */
const LOOK_MS = 500;
/** Interrupted: it goes on being drained. */
const EXIT_INTERRUPTED = 130;
/** When `--for` is not given. */
const DEFAULT_FOR = '30s';

interface DrainOptions extends BrokerApiOptions {
  readonly output: OutputFormat;
  readonly for: number;
  readonly to?: readonly string[];
  readonly cancel?: boolean;
  readonly wait: boolean;
}

/** `kerb broker drain` */
export function registerDrainCommand(broker: Command): void {
  withBrokerApi(
    broker.command('drain').description('take a running broker out of service, and wait until nothing is left'),
  )
    .addOption(outputOption())
    .option(
      '--for <time>',
      'what vehicles are told about when it ends, and how long to wait',
      toDuration,
      toDuration(DEFAULT_FOR),
    )
    .option('--to <brokers...>', 'ids or addresses of brokers that vehicles are sent to')
    .option('--cancel', 'put it back into service')
    .option('--no-wait', 'do not wait')
    .action(drain);
}

async function drain({ output, for: forMs, to, cancel, wait, ...api }: DrainOptions): Promise<void> {
  const broker = await connectBroker(api);
  if (cancel) {
    const before = await broker.ask<DrainStatus>('/v1/drain');
    const status = await broker.ask<DrainStatus>('/v1/drain', { method: 'DELETE' });
    const line = before.state === 'serving' ? 'it was in service already' : 'it is in service again';
    show(output, status, () => [line]);
    return;
  }
  const body = JSON.stringify({ forMs, to: to ?? [] });
  let status = await broker.ask<DrainStatus>('/v1/drain', { method: 'POST', body });
  if (wait) {
    await interruptible(async (signal) => {
      signal.addEventListener('abort', () => {
        process.exitCode = EXIT_INTERRUPTED;
      });
      const until = performance.now() + forMs;
      while (status.state === 'draining' && performance.now() < until && !signal.aborted) {
        progress(`${status.waiting} waiting and ${status.running} running are left`);
        await pause(LOOK_MS, signal);
        status = await broker.ask<DrainStatus>('/v1/drain');
      }
    });
  }
  show(output, status, drainedLines);
  if (!wait || status.state === 'drained' || process.exitCode === EXIT_INTERRUPTED) return;
  if (status.state === 'serving') {
    throw new KerbError(ErrorCode.Cancelled, 'the drain was taken back before it had ended');
  }
  const left = `${status.waiting} waiting and ${status.running} running`;
  throw new KerbError(
    ErrorCode.NotReached,
    `after ${timeSpan(forMs)} ${left} are left; it stays out of service, and a stop ends what is left`,
  );
}

function drainedLines(status: DrainStatus): readonly string[] {
  return status.state === 'drained' ? [...drainLines(status), 'it can be stopped now'] : drainLines(status);
}
