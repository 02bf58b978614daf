/** `kerb can replay`: the frames of a candump log, sent again as they came. */
import { open } from 'node:fs/promises';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { ErrorCode, isKerbError, KerbError, messageOf } from '../../shared/base/errors.ts';
import { pause } from '../../shared/base/pause.ts';
import type { CanBus } from '../../shared/can/bus.ts';
import { type CandumpRecord, parseCandumpLine } from '../../shared/can/candump.ts';
import { parseBusSpec } from '../../shared/can/open-bus.ts';
import { readFault } from '../../shared/host/read-fault.ts';
import { parseDuration } from '../../shared/text/duration.ts';
import { BUS_HELP, sendWithRetry, withBuses } from './command-bus.ts';
import { ReplayClock } from './replay-clock.ts';
import { type LogLine, logLines } from './replay-lines.ts';

/** Jumps of the log's clock that are said one by one; the others are counted. */
const MAX_JUMPS_SAID = 10;
/** Interfaces of a log whose names are remembered, for what is said at the end. */
const MAX_NAMES = 100;
/** Longest time that a timer can wait: 24 days. */
const MAX_GAP_MS = 2 ** 31 - 1;

interface ReplayOptions {
  readonly bus?: string;
  readonly from?: ReadonlyMap<string, string>;
  readonly gap: number;
  readonly fast?: boolean;
}

export function registerReplay(can: Command): void {
  can
    .command('replay')
    .description('send the frames of a candump log, with its times; - reads from standard input')
    .argument('<file>', 'the log')
    .option('--bus <bus>', `${BUS_HELP}; every line that no --from names goes there (default: "can0", without --from)`)
    .option('--from <interface=bus>', 'send the lines of this interface to that bus; may be given several times', route)
    .addOption(
      new Option('--gap <duration>', 'longest pause of the log to wait for; after a longer one it goes on at once')
        .argParser(gap)
        .default(60_000, '1m'),
    )
    .option('--fast', 'do not wait between frames')
    .addHelpText(
      'after',
      `
A log whose clock was set while it was recorded goes back, or far ahead: that is said, and the replay goes on at once
from there.`,
    )
    .action((file: string, options: ReplayOptions) => replay(file, options));
}

/** @throws InvalidArgumentError, which is wrong usage */
function route(text: string, before: ReadonlyMap<string, string> | undefined): ReadonlyMap<string, string> {
  const match = /^([^=\s]{1,15})=(.+)$/.exec(text);
  if (match === null) throw new InvalidArgumentError('write INTERFACE=BUS, such as can1=can0');
  const [, from, spec] = match as unknown as [string, string, string];
  if (before?.has(from)) throw new InvalidArgumentError(`${from} has a bus already: ${before.get(from)}`);
  try {
    parseBusSpec(spec);
  } catch (error) {
    throw new InvalidArgumentError(messageOf(error));
  }
  return new Map([...(before ?? []), [from, spec]]);
}

function gap(text: string): number {
  let ms: number;
  try {
    ms = parseDuration(text);
  } catch (error) {
    throw new InvalidArgumentError(messageOf(error));
  }
  if (ms <= MAX_GAP_MS) return ms;
  throw new InvalidArgumentError(`no pause is waited for longer than ${Math.floor(MAX_GAP_MS / 3_600_000)}h`);
}

async function replay(file: string, { bus, from = new Map(), gap, fast }: ReplayOptions): Promise<void> {
  const others = bus ?? (from.size === 0 ? 'can0' : undefined);
  const specs = [...new Set([...from.values(), ...(others === undefined ? [] : [others])])];
  const input = file === '-' ? process.stdin : await openLog(file);
  try {
    await withBuses(specs, async (buses, signal) => {
      const busOf = new Map([...from].map(([name, spec]) => [name, buses[specs.indexOf(spec)]!]));
      const rest = others === undefined ? undefined : buses[specs.indexOf(others)];
      const run = new Replay(file, {
        busOf: (name) => busOf.get(name) ?? rest,
        gapMs: gap,
        fast: fast === true,
        signal,
      });
      // A pipe that stays open must not keep us from stopping.
      const close = () => input.destroy();
      signal.addEventListener('abort', close, { once: true });
      try {
        await run.send(logLines(input));
      } catch (error) {
        if (!signal.aborted)
          throw (error as NodeJS.ErrnoException).syscall === 'read' ? unreadable(file, error) : error;
      } finally {
        signal.removeEventListener('abort', close);
        run.summarize([...from.keys()]);
      }
    });
  } finally {
    input.destroy();
  }
}

interface ReplayParts {
  /** The bus for the lines of an interface; undefined: they are left out. */
  readonly busOf: (name: string) => CanBus | undefined;
  readonly gapMs: number;
  readonly fast: boolean;
  readonly signal: AbortSignal;
}

/** One run through one log. What is worth saying goes to standard error. */
class Replay {
  readonly #file: string;
  readonly #parts: ReplayParts;
  readonly #clock: ReplayClock;
  #began: number | undefined;
  readonly #sent = new Map<string, number>();
  readonly #skipped = new Map<string, number>();
  #errorFrames = 0;
  #jumps = 0;

  constructor(file: string, parts: ReplayParts) {
    this.#file = file;
    this.#parts = parts;
    this.#clock = new ReplayClock(parts.gapMs);
  }

  /** @throws KerbError BadCandumpLine with file and line, and what the bus throws */
  async send(lines: AsyncIterable<LogLine>): Promise<void> {
    for await (const line of lines) {
      if (line.text.trim() === '') continue;
      const record = this.#read(line);
      if (record === undefined) return;
      const { frame, bus: name } = record;
      if (frame.err) {
        this.#errorFrames++; // what a controller saw cannot be sent
        continue;
      }
      const bus = this.#parts.busOf(name);
      if (bus === undefined) {
        count(this.#skipped, name);
        continue;
      }
      if (!this.#parts.fast) await this.#wait(line, frame.timeUs);
      if (this.#parts.signal.aborted) return;
      await sendWithRetry(bus, frame);
      count(this.#sent, name);
    }
  }

  /** Says what was sent, and what was not. @param wanted interfaces that were named on the command line */
  summarize(wanted: readonly string[]): void {
    const total = [...this.#sent.values()].reduce((sum, one) => sum + one, 0);
    const unsaid = this.#jumps - MAX_JUMPS_SAID;
    if (unsaid > 0) say(`${this.#file}: its clock jumped ${unsaid} more times; it went on at once from each`);
    if (this.#errorFrames > 0)
      say(`${counted(this.#errorFrames, 'error frame')} of the log left out: they cannot be sent`);
    for (const [name, frames] of this.#skipped)
      say(`${counted(frames, 'frame')} of ${name} left out: no --from names it`);
    const seen = (name: string) => this.#sent.has(name) || this.#skipped.has(name);
    for (const name of wanted.filter((one) => !seen(one))) say(`${this.#file} has no frame of ${name}`);
    say(`${counted(total, 'frame')} sent`);
  }

  async #wait({ number }: LogLine, timeUs: number): Promise<void> {
    const { dueMs, jump } = this.#clock.next(timeUs);
    if (jump !== undefined && ++this.#jumps <= MAX_JUMPS_SAID) {
      const how = jump.byUs < 0 ? 'goes back' : 'goes ahead';
      const keep = jump.byUs < 0 ? '' : ' (--gap waits for longer pauses)';
      say(
        `${this.#file}:${number}: the clock of the log ${how} by ${inWords(Math.abs(jump.byUs))}: going on at once${keep}`,
      );
    }
    this.#began ??= performance.now();
    const waitMs = this.#began + dueMs - performance.now();
    if (waitMs > 1) await pause(waitMs, this.#parts.signal);
  }

  /** Undefined for a last line that was cut off. */
  #read({ text, number, isUnfinished }: LogLine): CandumpRecord | undefined {
    try {
      return parseCandumpLine(text);
    } catch (error) {
      if (!isKerbError(error)) throw error;
      const where = `${this.#file}:${number}`;
      if (!isUnfinished) {
        const context = { ...error.context, file: this.#file, line: number };
        throw new KerbError(error.code, `${where}: ${error.message}`, context);
      }
      say(`warning: ${where}: the last line is cut off and was left out: ${error.message}`);
      return undefined;
    }
  }
}

function say(sentence: string): void {
  process.stderr.write(`${sentence}\n`);
}

function counted(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? '' : 's'}`;
}

function count(counts: Map<string, number>, name: string): void {
  const key = counts.has(name) || counts.size < MAX_NAMES ? name : 'other interfaces';
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

function inWords(us: number): string {
  const seconds = us / 1e6;
  return seconds < 3600 ? `${Number(seconds.toFixed(3))} s` : `${Number((seconds / 3600).toFixed(2))} h`;
}

async function openLog(file: string) {
  try {
    return (await open(file)).createReadStream();
  } catch (error) {
    throw unreadable(file, error);
  }
}

function unreadable(file: string, error: unknown): KerbError {
  return new KerbError(ErrorCode.BadConfig, `the log ${file} cannot be read: ${readFault(error)}`, { file });
}
