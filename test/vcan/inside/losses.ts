/** Runs in a kernel with CAN (see main.ts): cangen sends while our bus is too slow, and while it is not. */
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { CanBus } from '../../../shared/can/bus.ts';
import { parseFrameText } from '../../../shared/can/candump.ts';
import { openBus } from '../../../shared/can/open-bus.ts';
import { isLong, rounds } from '../../support/rounds.ts';
import { until } from '../../support/until.ts';
import { type Counts, type LossReport, STEADY_FRAMES } from '../report.ts';
import { canLackModules } from './modules.ts';

/** So long, and every part of the OBU that looks now and then, each second, has looked some times. */
const LOOKS_MS = rounds(2500, 5000);

/**
 * Lets cangen send and waits until each frame is either received or known to be lost, and a few looks longer: a loss
 * that is none would be counted then.
 * @param during What this program does meanwhile.
 */
async function counted(bus: CanBus, sent: number, gapMs: number, during: () => void): Promise<Counts> {
  const before = bus.stats;
  const args = ['vcan0', '-g', String(gapMs), '-n', String(sent), '-I', '100', '-L', '8'];
  const cangen = spawn('cangen', args, { stdio: 'ignore' });
  const done = new Promise((resolve) => cangen.once('close', resolve));
  during();
  await done;
  const count = () => ({
    sent,
    received: bus.stats.framesReceived - before.framesReceived,
    dropped: bus.stats.framesDropped - before.framesDropped,
  });
  const all = () => count().received + count().dropped >= sent;
  await until('the losses are counted', all, undefined, 30_000).catch(() => undefined);
  await sleep(LOOKS_MS);
  return count();
}

/** This program sleeps through the traffic; its receive buffer holds some hundred frames. */
function oversleep(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

/** 730 frames a second, with a receive buffer that no hiccup of the machine overflows. */
async function steady(frames: number): Promise<Counts> {
  // Where the kernel is the machine's own, it stays as it is.
  if (canLackModules) writeFileSync('/proc/sys/net/core/rmem_default', String(16 << 20));
  const { bus } = openBus({ name: 'vcan0', kind: 'socketcan' });
  await bus.start();
  // Our own frames are in the kernel's count as well.
  const sender = setInterval(() => bus.send(parseFrameText('7AA#11')), 20);
  const counts = await counted(bus, frames, 1.37, () => {});
  clearInterval(sender);
  await bus.stop();
  if (canLackModules) writeFileSync('/proc/sys/net/core/rmem_default', '212992');
  return counts;
}

function sleptThroughInPart(bus: CanBus): Promise<Counts> {
  console.log('traffic that is slept through in part');
  return counted(bus, 3000, 2, () => oversleep(4000));
}

export async function run(): Promise<LossReport> {
  const { bus } = openBus({ name: 'vcan0', kind: 'socketcan' });
  await bus.start();
  console.log('a burst');
  const burst = await counted(bus, 4000, 0, () => oversleep(3000));
  const partly = isLong ? { busy: await sleptThroughInPart(bus) } : {};
  await bus.stop();
  console.log('steady traffic');
  return { burst, ...partly, steady: await steady(STEADY_FRAMES) };
}
