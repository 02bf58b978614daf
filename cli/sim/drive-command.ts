import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Command, Option } from 'commander';
import { ErrorCode, isKerbError, messageOf } from '../../shared/base/errors.ts';
import { pause } from '../../shared/base/pause.ts';
import { Drive } from '../../sim/demo/drive.ts';
import {
  formatError,
  recentErrors,
  renderBeat,
  renderLine,
  renderScreen,
  renderSummary,
  summarise,
} from '../../sim/demo/screen.ts';
import { Terminal } from '../../sim/demo/terminal.ts';
import { toDuration } from '../lib/output.ts';

const root = fileURLToPath(new URL('../../', import.meta.url)).replace(/\/$/, '');

/** Nobody looks at nothing for longer than this, in milliseconds. */
const SILENCE_MS = 3000;

interface Flags {
  for?: number;
  state: string;
  manifest: string;
  camera?: string;
  can?: string;
  simCar: boolean;
  dbc?: string;
  mapping?: string;
  plain?: boolean;
  watch?: boolean;
}

/** `kerb sim drive`: what `npm start` runs. */
export function registerSimDriveCommand(sim: Command): void {
  sim
    .command('drive')
    .description('the main job: one vehicle and one broker on this machine, and a screen that shows them')
    .option(
      '--for <duration>',
      'stop by itself after this long, for example 30s; counted once everything runs',
      toDuration,
    )
    .option('--state <folder>', 'keeps identities, images, logs and pictures between runs', '.kerbside')
    .addOption(
      new Option('--manifest <file>', 'the workloads to run').default(
        join(root, 'examples', 'workloads', 'car.compose.yaml'),
        'examples/workloads/car.compose.yaml',
      ),
    )
    .option('--camera <source>', 'v4l2:/dev/video0, rtsp://…, file:PATH (default: a simulated road)')
    .option('--can <interface>', 'SocketCAN interface (default: vcan0 where there is one, else the userspace bus)')
    .option('--no-sim-car', 'put nothing on the bus; it is never simulated on a CAN interface that is hardware')
    .option('--dbc <file>', 'how to decode the bus (default: that of the simulated car)')
    .option('--mapping <file>', 'which signal is which VSS path (default: that of the simulated car)')
    .option('--plain', 'lines instead of a screen, also on a terminal')
    .option('--watch', 'start a daemon again when its sources change (npm run dev)')
    .addHelpText(
      'after',
      '\nExit codes: 0 done; 1 no offload succeeded or a workload was not running; 2 wrong usage; 130 stopped by Ctrl-C\nbefore the job was done.',
    )
    .action((flags: Flags) => drive(flags));
}

async function drive(flags: Flags): Promise<void> {
  const forMs = flags.for;
  const terminal = process.stdout.isTTY && !flags.plain ? new Terminal(process.stdout) : undefined;
  let saidAt = performance.now();
  const say = (line: string) => {
    saidAt = performance.now();
    process.stdout.write(`${line}\n`);
  };

  const { state, manifest, camera, can, simCar: simulateCar, dbc, mapping, watch: isWatching = false } = flags;
  const options = { state, manifest, camera, can, simulateCar, dbc, mapping, root, watch: isWatching };
  const job = new Drive(options, (step) => {
    // Docker's own steps are for a screen that shows what is going on just now; in a log they would be noise.
    if (!terminal && !/: Step \d/.test(step)) say(step);
  });
  const stopped = new AbortController();
  let interrupted = false;
  let isStarting = true;
  const stop = () => {
    interrupted = true;
    stopped.abort();
    // Once all runs, the counts of the summary are asked for before anything is taken back.
    if (isStarting) void job.stop();
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  process.on('SIGHUP', stop);

  const draw = () => terminal?.draw(renderScreen(job.view(forMs), terminal.columns));
  terminal?.open();
  // Start-up has its own rhythm; the screen goes on being drawn beside it.
  const drawing = terminal && setInterval(draw, 250);

  // Whatever takes long, a person sees that it goes on, and what it is.
  const beating = setInterval(() => {
    if (performance.now() - saidAt >= SILENCE_MS && !terminal?.isOpen) say(renderBeat(job.view(forMs)));
  }, 500);

  let startupError: string | undefined;
  try {
    await job.start();
    isStarting = false;
    await watch();
  } catch (error) {
    if (!isKerbError(error, ErrorCode.Cancelled)) {
      startupError = isKerbError(error) ? `${error.message} [${error.code}]` : messageOf(error);
    }
  }
  clearInterval(drawing);
  await job.lookLast();
  const summary = summarise(job.view(forMs), startupError);
  terminal?.close();
  say('stopping: workloads, OBU, broker, simulator');
  await job.stop();
  clearInterval(beating);
  for (const line of renderSummary(summary)) say(line);
  try {
    writeFileSync(join(flags.state, 'summary.json'), `${JSON.stringify(summary, null, 2)}\n`);
  } catch (error) {
    process.stderr.write(`kerb: the summary could not be written to ${flags.state}: ${messageOf(error)}\n`);
  }
  process.exitCode = summary.ok ? 0 : interrupted ? 130 : 1;

  async function watch(): Promise<void> {
    const begin = performance.now();
    const seen = new Set<string>();
    for (let tick = 0; !stopped.signal.aborted; tick++) {
      const view = job.view(forMs);
      if (forMs !== undefined && performance.now() - begin >= forMs) return;
      if (!terminal) {
        if (tick % 4 === 0) say(renderLine(view));
        for (const error of recentErrors(view, 20)) {
          const line = formatError(error);
          if (!seen.has(line)) say(`error: ${line}`);
          seen.add(line);
        }
      }
      await pause(500, stopped.signal);
    }
  }
}
