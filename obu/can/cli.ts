import { type FileHandle, open } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Command, InvalidArgumentError } from 'commander';
import { formatCandumpLine, parseCandumpLine, parseFrameText } from '../../shared/can/candump.ts';
import { compileFilters } from '../../shared/can/filter.ts';
import type { CanFrame } from '../../shared/can/frame.ts';
import { ErrorCode, KerbError, messageOf } from '../../shared/errors.ts';
import { createLog } from '../../shared/log.ts';
import type { CanBus } from './bus.ts';
import { defaultBusSocket, openBus, parseBusSpec } from './open-bus.ts';
import { nowUs } from './userspace-protocol.ts';
import { UserspaceBusServer } from './userspace-server.ts';

const BUS_HELP = 'can0, socketcan:can0, userspace:can0 or userspace:can0@/path/to.sock';

/** What `dump` keeps for a slow reader of its output. */
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
    .option('-n, --count <frames>', 'stop after so many frames', parseCount)
    .action((filters: string[], options: { bus: string; error?: boolean; count?: number }) => {
      const frames = filters.length > 0 ? filters : ['0:0'];
      return dump(options.error ? [...frames, '#FFFFFFFF'] : frames, options.bus, options.count);
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

  can
    .command('replay')
    .description('send the frames of a candump log, with its times; - reads from standard input')
    .argument('<file>', 'the log')
    .option('--bus <bus>', `${BUS_HELP}; every line goes there, whatever interface it names`, 'can0')
    .option('--fast', 'do not wait between frames')
    .action((file: string, options: { bus: string; fast?: boolean }) =>
      replay(file, options.bus, options.fast === true),
    );
}

// Thrown while the command line is read, InvalidArgumentError is wrong usage, with the exit code of that.

function parseCount(text: string): number {
  const count = Number(text);
  if (!Number.isSafeInteger(count) || count < 1) {
    throw new InvalidArgumentError('give a number of frames, 1 or more');
  }
  return count;
}

/** The text as it is, when it is a filter. */
function parseFilter(text: string): string {
  compileFilters([text]);
  return text;
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

/** Aborted by SIGINT and SIGTERM; `release` gives the signals back. */
function untilStopped(): { readonly signal: AbortSignal; readonly release: () => void } {
  const controller = new AbortController();
  const abort = () => controller.abort();
  process.once('SIGINT', abort);
  process.once('SIGTERM', abort);
  return {
    signal: controller.signal,
    release: () => {
      process.off('SIGINT', abort);
      process.off('SIGTERM', abort);
    },
  };
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}

async function serveBus(socket: string | undefined, name: string): Promise<void> {
  const socketPath = socket ?? defaultBusSocket(name);
  const server = new UserspaceBusServer({ socketPath, name, log: createLog('can-bus') });
  const stop = untilStopped();
  try {
    await server.start();
    process.stdout.write(`CAN bus ${name} is served at ${socketPath}\n`);
    await aborted(stop.signal);
  } finally {
    await server.stop();
    stop.release();
  }
}

/** Starts the bus, does the work, stops the bus; says on standard error which bus it is. */
async function withBus(spec: string, work: (bus: CanBus, signal: AbortSignal) => Promise<void>): Promise<void> {
  const { bus, reason } = openBus(parseBusSpec(spec), { log: createLog('can'), client: `kerb can ${process.pid}` });
  const stop = untilStopped();
  try {
    await bus.start();
    process.stderr.write(`${reason}\n`);
    await work(bus, stop.signal);
  } finally {
    await bus.stop();
    stop.release();
  }
}

async function dump(filters: readonly string[], spec: string, count?: number): Promise<void> {
  const matches = compileFilters(filters);
  await withBus(spec, async (bus, signal) => {
    const done = new AbortController();
    let left = count ?? Number.POSITIVE_INFINITY;
    let skipped = 0;
    bus.subscribe((frame) => {
      if (left === 0 || !matches(frame)) return;
      // Whoever reads us may be slower than the bus (a pager, a slow disk).
      if (process.stdout.writableLength > MAX_UNREAD_BYTES) {
        skipped++;
        return;
      }
      process.stdout.write(`${formatCandumpLine(bus.name, frame)}\n`);
      if (--left === 0) done.abort();
    });
    // `kerb can dump | head` ends when head does.
    process.stdout.on('error', () => done.abort());
    await aborted(AbortSignal.any([signal, done.signal]));
    const lost = skipped + bus.stats.framesDropped;
    if (lost > 0) process.stderr.write(`${lost} frames lost: what reads the output is slower than the bus\n`);
  });
}

async function send(frames: readonly CanFrame[], spec: string): Promise<void> {
  await withBus(spec, async (bus) => {
    for (const frame of frames) await sendPatiently(bus, { ...frame, timeUs: nowUs() });
  });
}

/** A bus that is busy takes the frame a little later; only after two seconds is that an error. */
async function sendPatiently(bus: CanBus, frame: Parameters<CanBus['send']>[0]): Promise<void> {
  const giveUp = performance.now() + 2000;
  for (;;) {
    try {
      bus.send(frame);
      return;
    } catch (error) {
      const busy = error instanceof KerbError && error.code === ErrorCode.BusWriteFailed;
      if (!busy || performance.now() > giveUp) throw error;
      await sleep(5);
    }
  }
}

async function replay(file: string, spec: string, fast: boolean): Promise<void> {
  const input = file === '-' ? process.stdin : (await openLog(file)).createReadStream();
  await withBus(spec, async (bus, signal) => {
    const lines = createInterface({ input, signal });
    let number = 0;
    let sent = 0;
    let first: number | undefined;
    const began = performance.now();
    for await (const line of lines) {
      number++;
      if (line.trim() === '') continue;
      const { frame } = readLine(file, number, line);
      if (frame.err) continue; // what a controller saw cannot be sent
      first ??= frame.timeUs;
      const wait = began + (frame.timeUs - first) / 1000 - performance.now();
      if (!fast && wait > 1) await sleep(wait, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) break;
      await sendPatiently(bus, frame);
      sent++;
    }
    process.stderr.write(`${sent} frames sent\n`);
  });
}

async function openLog(file: string): Promise<FileHandle> {
  try {
    return await open(file);
  } catch (error) {
    throw new KerbError(ErrorCode.BadConfig, `the log cannot be read: ${messageOf(error)}`, { file });
  }
}

function readLine(file: string, number: number, line: string): ReturnType<typeof parseCandumpLine> {
  try {
    return parseCandumpLine(line);
  } catch (error) {
    if (!(error instanceof KerbError)) throw error;
    throw new KerbError(error.code, `${file}:${number}: ${error.message}`, { ...error.context, file, line: number });
  }
}
