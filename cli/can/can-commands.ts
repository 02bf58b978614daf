import { type Command, InvalidArgumentError } from 'commander';
import { ErrorCode, KerbError, messageOf } from '../../shared/base/errors.ts';
import { createLog } from '../../shared/base/log.ts';
import { untilAborted } from '../../shared/base/pause.ts';
import { formatCandumpLine, parseFrameText } from '../../shared/can/candump.ts';
import { type CanFilter, compileFilters, parseFilter } from '../../shared/can/filter.ts';
import type { CanFrame } from '../../shared/can/frame.ts';
import { defaultBusSocket } from '../../shared/can/open-bus.ts';
import { nowUs } from '../../shared/can/userspace/userspace-protocol.ts';
import { UserspaceBusServer } from '../../shared/can/userspace/userspace-server.ts';
import { interruptible } from '../lib/output.ts';
import { BUS_HELP, sendWithRetry, withBuses } from './command-bus.ts';
import { registerReplay } from './replay-command.ts';

/** Bytes that `dump` keeps for a slow reader of its output. */
const MAX_UNREAD_BYTES = 4 * 1024 * 1024;

/** `kerb can bus|dump|send|replay`. */
export function registerCanCommands(program: Command): void {
  const can = program.command('can').description('the CAN bus: serve a userspace one, look at any, send to it');

  can
    .command('bus')
    .description('serve a CAN bus in user space, for programs on a host without SocketCAN')
    .option('--socket <path>', 'where programs join it')
    .option('--name <bus>', 'its name', 'can0')
    .action((options: { socket?: string; name: string }) => serveBus(options.socket, options.name));

  can
    .command('dump')
    .description("print the frames on a bus as candump's log lines")
    .argument(
      '[filter...]',
      'can-utils filters: ID:MASK, ID~MASK, #ERRORMASK; default: all frames',
      listed(parseFilter),
    )
    .option('--bus <bus>', BUS_HELP, 'can0')
    .option('--error', 'error frames of the controller as well, as the filter #FFFFFFFF')
    .option('-n, --count <frames>', 'stop after this number of frames', parseCount)
    .action((filters: CanFilter[], options: { bus: string; error?: boolean; count?: number }) => {
      const frames = filters.length > 0 ? filters : [parseFilter('0:0')];
      return dump(options.error ? [...frames, parseFilter('#FFFFFFFF')] : frames, options.bus, options.count);
    });

  can
    .command('send')
    .description('send frames to a bus')
    .argument(
      '<frame...>',
      'as cansend takes them: 123#DEADBEEF, 123#R4, 123##1AABB, 18DAF110#0210',
      listed(parseFrame),
    )
    .option('--bus <bus>', BUS_HELP, 'can0')
    .action((frames: CanFrame[], options: { bus: string }) => send(frames, options.bus));

  registerReplay(can);
}

// Thrown while the command line is read, InvalidArgumentError is wrong usage, with the exit code of that.

function parseCount(text: string): number {
  const count = Number(text);
  if (!Number.isSafeInteger(count) || count < 1) {
    throw new InvalidArgumentError('give a number of frames, 1 or more');
  }
  return count;
}

function parseFrame(text: string): CanFrame {
  const frame = parseFrameText(text);
  if (frame.err) throw new KerbError(ErrorCode.BadCanFrame, `"${text}": error frames cannot be sent`);
  return frame;
}

/** For commander, which hands over one argument after the other and what became of those before. */
function listed<T>(parse: (text: string) => T) {
  return (text: string, before: readonly T[] | undefined): T[] => {
    try {
      return [...(before ?? []), parse(text)];
    } catch (error) {
      throw new InvalidArgumentError(messageOf(error));
    }
  };
}

async function serveBus(socket: string | undefined, name: string): Promise<void> {
  const socketPath = socket ?? defaultBusSocket(name);
  const server = new UserspaceBusServer({ socketPath, name, log: createLog('can-bus') });
  await interruptible(async (signal) => {
    try {
      await server.start();
      process.stdout.write(`CAN bus ${name} is served at ${socketPath}\n`);
      await untilAborted(signal);
    } finally {
      await server.stop();
    }
  });
}

async function dump(filters: readonly CanFilter[], spec: string, count?: number): Promise<void> {
  const matches = compileFilters(filters);
  await withBuses([spec], async ([bus], signal) => {
    const done = new AbortController();
    let left = count ?? Number.POSITIVE_INFINITY;
    let skipped = 0;
    bus!.subscribe((frame) => {
      if (left === 0 || !matches(frame)) return;
      // Whoever reads us may be slower than the bus (a pager, a slow disk).
      if (process.stdout.writableLength > MAX_UNREAD_BYTES) {
        skipped++;
        return;
      }
      process.stdout.write(`${formatCandumpLine(bus!.name, frame)}\n`);
      if (--left === 0) done.abort();
    });
    // `kerb can dump | head` ends when head does.
    process.stdout.on('error', () => done.abort());
    await untilAborted(AbortSignal.any([signal, done.signal]));
    const lost = skipped + bus!.stats.framesDropped;
    if (lost > 0) process.stderr.write(`${lost} frames lost: what reads the output is slower than the bus\n`);
  });
}

async function send(frames: readonly CanFrame[], spec: string): Promise<void> {
  await withBuses([spec], async ([bus]) => {
    for (const frame of frames) await sendWithRetry(bus!, { ...frame, timeUs: nowUs() });
  });
}
