import { join } from 'node:path';
import type { Command } from 'commander';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import { createLog } from '../../shared/base/log.ts';
import { untilAborted } from '../../shared/base/pause.ts';
import { openBus, parseBusSpec } from '../../shared/can/open-bus.ts';
import { loadDbc } from '../../shared/dbc/parser/dbc-parser.ts';
import { CanSimulator } from '../../sim/car/simulator.ts';
import { interruptible } from '../lib/output.ts';

/** The database of the simulated car. */
export const CAR_DBC: string = join(import.meta.dirname, '../../sim/car/car.dbc');
/** The VSS mapping of its signals. */
export const CAR_MAPPING: string = join(import.meta.dirname, '../../sim/car/car.vss.yaml');

/** `kerb sim can`. */
export function registerSimCanCommand(sim: Command): void {
  sim
    .command('can')
    .description('put a simulated car on a CAN bus')
    .option('--bus <bus>', 'can0, socketcan:can0, userspace:can0 or userspace:can0@/path/to.sock', 'can0')
    .option('--seed <number>', 'seed of the drive; the same number gives the same drive', parseSeed, 1)
    .action((options: { bus: string; seed: number }) => simulate(options.bus, options.seed));
}

function parseSeed(text: string): number {
  const seed = Number(text);
  if (!/^\d+$/.test(text) || seed > 0xffffffff) {
    throw new KerbError(ErrorCode.BadConfig, `--seed ${text}: give a whole number from 0 to 4294967295`);
  }
  return seed;
}

async function simulate(spec: string, seed: number): Promise<void> {
  const log = createLog('sim-can');
  const { bus, reason } = openBus(parseBusSpec(spec), { log, client: `kerb sim can ${process.pid}` });
  await interruptible(async (signal) => {
    const simulator = new CanSimulator({ bus, dbc: await loadDbc(CAR_DBC), seed, log });
    try {
      await bus.start();
      process.stdout.write(`${reason}\n`);
      if (signal.aborted) return;
      simulator.start();
      await untilAborted(signal);
    } finally {
      simulator.stop();
      const { framesSent } = bus.stats;
      await bus.stop();
      log.info({ count: framesSent, lost: simulator.framesFailed }, 'the simulated car left the bus');
    }
  });
}
