import { type Command, InvalidArgumentError, Option } from 'commander';
import { isOffloadId } from '../../shared/protocol/offload-request.ts';
import { SERVICE_CLASSES } from '../../shared/protocol/service-class.ts';
import { withBroker } from '../lib/broker-options.ts';
import { toCount, toDuration } from '../lib/output.ts';
import { isLoad, type OffloadOptions } from './offload-options.ts';

const MAX_RATE = 100_000;
const MAX_CONNECTIONS = 1024;
const MAX_CONCURRENCY = 4096;
/** As brokers bound them. */
const MAX_BUDGET_MS = 3_600_000;
const MAX_KEEP_MS = 86_400_000;

/** `kerb offload`: tries a task on a running broker, once or many times. */
export function registerOffloadCommand(program: Command): void {
  const command = program
    .command('offload <task>')
    .description(
      'try a task on a running broker, without an OBU: by digest, by name, or by name and version like echo@^1. Once, it prints the output; with -n, --rate, --concurrency or --duration, it prints latencies, and refusals by reason',
    );
  withBroker(command, 'it says which vehicle and which tenant asks')
    .option('-i, --input <file>', 'the input, - for standard input (default: an empty one)')
    .option('--output <file>', 'where the output goes, - for standard output (default: -)')
    .option('--budget <time>', 'until when an answer counts, like 500ms, on the clock of this command', toBudget, 500)
    .option(
      '--trust <dir>',
      'public keys of task signers: the task must be signed by one of them (default: the broker is trusted)',
    )
    .addOption(new Option('--class <class>', 'how urgent it is').choices(SERVICE_CLASSES).default('normal'))
    .addOption(
      new Option('--isolation <how>', 'vm: in a virtual machine or not at all').choices(['any', 'vm']).default('any'),
    )
    .option('--keep <time>', 'how long the broker keeps the result for the same id; 0s: not at all', toKeep, 0)
    .option('--state <key>', 'the state of a session that it goes with, kept by this broker; for tasks with state')
    .option('--durable', 'a result that is kept survives the death of the broker')
    .option('--receipt <file>', 'where the signed receipt goes, as the encoded SignedReceipt; of many, the newest')
    .option(
      '--offload-id <id>',
      'the id of the offload; of many, the first part of each (default: a random one)',
      toOffloadId,
    )
    .option('-n <count>', 'send so many offloads', toPositive(999_999_999))
    .option('--rate <number>', 'send so many per second, without waiting for answers', toRate)
    .option(
      '--concurrency <count>',
      'keep so many open, the next when one is answered (default: one per connection)',
      toPositive(MAX_CONCURRENCY),
    )
    .option('--connections <count>', 'share them among so many connections', toPositive(MAX_CONNECTIONS), 1)
    .option('--duration <time>', 'send for so long (default, without -n: 10s)', toTime)
    .addOption(new Option('-o <format>', 'how to print it').choices(['table', 'json']).default('table'))
    .action(async (task: string, options: OffloadOptions) => {
      checkTogether(command, options);
      const { offload } = await import('./offload.ts');
      await offload(task, options);
    });
}

function checkTogether(command: Command, options: OffloadOptions): void {
  const wrong = (message: string) => command.error(`error: ${message}`, { exitCode: 2 });
  const { rate, concurrency, output, receipt, durable, keep } = options;
  if (rate !== undefined && concurrency !== undefined) {
    wrong("options '--rate' and '--concurrency' exclude one another: a rate does not wait for answers");
  }
  if (isLoad(options)) {
    if (output !== undefined) wrong("option '--output' is for one offload, and many are asked for");
  }
  if (durable && keep === 0) wrong("option '--durable' needs '--keep': a result that is not kept cannot survive");
  if (receipt === '-') wrong("option '--receipt' needs a file: standard output has the output of the task");
}

function toBudget(text: string): number {
  const ms = toTime(text);
  if (ms > MAX_BUDGET_MS) throw new InvalidArgumentError('a budget is at most 1h');
  return ms;
}

function toKeep(text: string): number {
  const ms = text === '0' ? 0 : toDuration(text);
  if (ms > MAX_KEEP_MS) throw new InvalidArgumentError('a result is kept for at most 24h');
  return ms;
}

function toTime(text: string): number {
  const ms = toDuration(text);
  if (!(ms > 0)) throw new InvalidArgumentError('it is longer than nothing');
  return ms;
}

function toRate(text: string): number {
  const rate = Number(text);
  if (/^\d+(\.\d+)?$/.test(text) && rate > 0 && rate <= MAX_RATE) return rate;
  throw new InvalidArgumentError(`a number above 0 and at most ${MAX_RATE} is needed`);
}

function toPositive(max: number): (text: string) => number {
  return (text) => {
    const count = toCount(text);
    if (count >= 1 && count <= max) return count;
    throw new InvalidArgumentError(`1 to ${max} are possible`);
  };
}

function toOffloadId(text: string): string {
  if (isOffloadId(text) && text.length <= 100) return text;
  throw new InvalidArgumentError('1 to 100 printable ASCII characters without spaces are needed');
}
