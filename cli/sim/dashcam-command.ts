import type { Command } from 'commander';
import { ErrorCode, KerbError, messageOf } from '../../shared/base/errors.ts';
import { createLog } from '../../shared/base/log.ts';
import { untilAborted } from '../../shared/base/pause.ts';
import { openBus, parseBusSpec } from '../../shared/can/open-bus.ts';
import { loadDbc } from '../../shared/dbc/parser/dbc-parser.ts';
import { BusMotion } from '../../sim/dashcam/bus-motion.ts';
import type { PictureFormat } from '../../sim/dashcam/picture-server.ts';
import { SimulatedDashcam } from '../../sim/dashcam/simulated-dashcam.ts';
import { interruptible } from '../lib/output.ts';

interface Flags {
  readonly bus: string;
  readonly dbc: string;
  readonly socket: string;
  readonly size: string;
  readonly fps: string;
  readonly seed: string;
  readonly speed: string;
  readonly steering: string;
}

/** Defaults as in sim/car/car.dbc. */
export const SPEED = 'VehicleSpeed.Speed';
export const STEERING = 'Steering.SteeringWheelAngle';

/** `kerb sim dashcam`: a dashcam that sees a simulated road. Runs until SIGINT or SIGTERM. */
export function registerSimDashcamCommand(sim: Command): void {
  sim
    .command('dashcam')
    .description('draw the road ahead of the simulated car, as a camera source sim:SOCKET')
    .requiredOption('--bus <spec>', 'CAN bus that says how the car moves: can0, userspace:can0@/path/to.sock …')
    .requiredOption('--dbc <file>', 'database of that bus')
    .requiredOption('--socket <path>', 'Unix socket on which the pictures are served')
    .option('--size <WxH>', 'size of the pictures in pixels', '640x480')
    .option('--fps <rate>', 'pictures per second', '15')
    .option('--seed <number>', 'another seed is another landscape', '1')
    .option('--speed <signal>', 'MESSAGE.SIGNAL of the speed', SPEED)
    .option('--steering <signal>', 'MESSAGE.SIGNAL of the steering wheel, positive to the left', STEERING)
    .action(serve);
}

async function serve(flags: Flags): Promise<void> {
  const log = createLog('sim-dashcam');
  const format = parseFormat(flags.size, flags.fps);
  const seed = parseSeed(flags.seed);
  const choice = parseBusSpec(flags.bus);
  const dbc = await loadDbc(flags.dbc);
  const { bus, reason } = openBus(choice, { log, client: 'sim-dashcam' });
  const motion = new BusMotion({ bus, dbc, speed: flags.speed, steering: flags.steering });
  const dashcam = new SimulatedDashcam({ socketPath: flags.socket, format, seed, motion, log });
  await interruptible(async (signal) => {
    const starting = dashcam.start();
    // A signal in the middle of the start ends it too.
    await Promise.race([starting, untilAborted(signal)]);
    if (!signal.aborted) {
      const what = `${format.width}x${format.height} at ${format.fps}/s`;
      process.stdout.write(`dashcam: SIMULATED road, ${what}, served as sim:${flags.socket}; ${reason}\n`);
      await untilAborted(signal);
    }
    await dashcam.stop();
    await starting.catch((error) => log.debug({ err: messageOf(error) }, 'start ended by a signal'));
  });
}

/** @throws KerbError BadConfig */
export function parseFormat(size: string, fps: string): PictureFormat {
  const match = /^(\d{2,4})x(\d{2,4})$/.exec(size);
  const [width, height] = [Number(match?.[1] ?? 0), Number(match?.[2] ?? 0)];
  if (width < 64 || height < 48 || width > 4096 || height > 4096) {
    throw new KerbError(ErrorCode.BadConfig, `--size ${size}: give it like 640x480, 64x48 to 4096x4096`);
  }
  if (!/^\d{1,2}(\.\d{1,3})?$/.test(fps) || Number(fps) <= 0 || Number(fps) > 60) {
    throw new KerbError(ErrorCode.BadConfig, `--fps ${fps}: give a rate above 0, at most 60`);
  }
  return { width, height, fps: Number(fps) };
}

function parseSeed(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new KerbError(ErrorCode.BadConfig, `--seed ${text}: give a whole number`);
  return Number(text);
}
