/** Runs in a kernel with CAN (see main.ts): puts our bus and the simulator on vcan0, with candump and cansend as the outside world. */

import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from 'commander';
import { CAR_DBC, CAR_MAPPING, registerSimCanCommand } from '../../../cli/sim/can-command.ts';
import { CanRouter } from '../../../obu/can/router.ts';
import { SignalStore } from '../../../obu/signals/signal-store.ts';
import { KerbError, messageOf } from '../../../shared/base/errors.ts';
import type { CanBus } from '../../../shared/can/bus.ts';
import { formatFrame, parseFrameText } from '../../../shared/can/candump.ts';
import { parseFilter } from '../../../shared/can/filter.ts';
import type { CanFrame } from '../../../shared/can/frame.ts';
import { openBus } from '../../../shared/can/open-bus.ts';
import { loadDbc } from '../../../shared/dbc/parser/dbc-parser.ts';
import { loadVssMapping } from '../../../shared/vss/vss-mapping.ts';
import { isLong } from '../../support/rounds.ts';
import { until } from '../../support/until.ts';
import { controllerFrames, filterFrames, filters, frames, shortFdFrames, type VcanReport } from '../report.ts';
import { Candump, cansend, ip } from './can-utils.ts';

/** What the kernel has put on its lists for vcan0: so many receivers listen. */
async function untilListening(dumps: readonly Candump[], bus: CanBus): Promise<void> {
  // A frame that nothing filters arrives at each candump only once it listens; send until all have one.
  await until('each candump listens', () => {
    bus.send(parseFrameText('001#FF'));
    bus.send(parseFrameText('1FFFFFFE#FF'));
    bus.send(parseFrameText('00000001#R'));
    return dumps.every((dump) => dump.lines.length > 0);
  });
  await sleep(200);
  for (const dump of dumps) dump.lines.length = 0;
}

async function directions(bus: CanBus) {
  const dump = new Candump('');
  await untilListening([dump], bus);
  const received: CanFrame[] = [];
  const unsubscribe = bus.subscribe((frame) => received.push(frame));
  for (const text of [...frames, ...shortFdFrames]) bus.send(parseFrameText(text));
  await until('candump has all our frames', () => dump.lines.length >= frames.length + shortFdFrames.length);
  const outward = dump.frames;
  const ownFramesReceived = received.length;
  cansend(...frames, ...shortFdFrames);
  await until('our bus has all their frames', () => received.length >= frames.length + shortFdFrames.length);
  const now = Date.now() * 1000;
  const inwardAge = Math.max(...received.map((frame) => Math.abs(now - frame.timeUs) / 1e6));
  unsubscribe();
  await dump.stop();
  return { outward, inward: received.map(formatFrame), inwardAge, ownFramesReceived };
}

async function compareFilters(bus: CanBus): Promise<VcanReport['filters']> {
  const router = new CanRouter(bus);
  router.start();
  const ours = filters.map((filter) => {
    const passed: string[] = [];
    router.subscribe([parseFilter(filter)], [parseFilter('0:0')], (frame) => passed.push(formatFrame(frame)));
    return passed;
  });
  const all: string[] = [];
  router.subscribe(undefined, [parseFilter('0:0')], (frame) => all.push(formatFrame(frame)));
  const dumps = filters.map((filter) => new Candump(`,${filter}`));
  // "0~0" and exact filters pass none of the frames that wake the others up; time has to do.
  await sleep(1500);
  for (const dump of dumps) dump.lines.length = 0;
  cansend(...filterFrames);
  await until('all frames are there', () => all.length >= filterFrames.length);
  await sleep(300);
  const result = filters.map((filter, i) => ({ filter, kernel: dumps[i]!.frames, ours: ours[i]! }));
  for (const dump of dumps) await dump.stop();
  router.stop();
  return result;
}

interface Car {
  /** Asks it to end, and resolves to what it printed. */
  stop(): Promise<string>;
}

const CAR_OPTIONS = ['can', '--bus', 'vcan0', '--seed', '1'];

function carProcess(): Car {
  const sim = spawn(process.execPath, ['cli/kerb.ts', 'sim', ...CAR_OPTIONS], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise((resolve) => sim.once('close', resolve));
  let says = '';
  sim.stdout.on('data', (chunk: Buffer) => {
    says += chunk.toString();
  });
  const stop = async () => {
    sim.kill('SIGTERM');
    await ended;
    return says.trim();
  };
  return { stop };
}

/** The same command in this process: what it sends comes back from the kernel, as from anybody else. */
function carHere(): Car {
  const sim = new Command();
  registerSimCanCommand(sim);
  const { stdout } = process;
  const write = stdout.write.bind(stdout);
  let says = '';
  stdout.write = ((chunk: string | Uint8Array) => {
    says += chunk.toString();
    return true;
  }) as typeof stdout.write;
  const ended = sim.parseAsync(CAR_OPTIONS, { from: 'user' }).finally(() => {
    stdout.write = write;
  });
  const stop = async () => {
    process.emit('SIGTERM');
    await ended;
    return says.trim();
  };
  return { stop };
}

async function simulator(bus: CanBus): Promise<VcanReport['simulator']> {
  const router = new CanRouter(bus);
  router.start();
  const store = new SignalStore([{ router, dbcs: [await loadDbc(CAR_DBC)] }], await loadVssMapping(CAR_MAPPING));
  store.start();
  const dump = new Candump('');
  await untilListening([dump], bus);
  const car = isLong ? carProcess() : carHere();
  await until('each signal had a value', () => store.withValue === store.paths().length);
  const paths = store.paths().filter((path) => store.get(path) !== undefined);
  const says = await car.stop();
  store.stop();
  router.stop();
  await dump.stop();
  return { says, log: dump.lines, paths, allPaths: store.paths().length };
}

async function comingsAndGoings(bus: CanBus) {
  const states: string[] = [];
  bus.onState((state) => states.push(state.state === 'Up' ? 'Up' : `Down: ${state.reason}`));
  ip('link', 'set', 'vcan0', 'down');
  await until('our bus is down', () => bus.state.state === 'Down');
  const sendWhileDown = failure(() => bus.send(parseFrameText('123#')));
  ip('link', 'set', 'vcan0', 'up');
  await until('our bus is up', () => bus.state.state === 'Up');
  ip('link', 'del', 'vcan0');
  await until('our bus is down again', () => bus.state.state === 'Down');
  ip('link', 'add', 'dev', 'vcan0', 'mtu', '72', 'type', 'vcan');
  ip('link', 'set', 'vcan0', 'up');
  await until('our bus is up again', () => bus.state.state === 'Up');
  const afterReturn: string[] = [];
  bus.subscribe((frame) => afterReturn.push(formatFrame(frame)));
  cansend('321#CAFE');
  await until('a frame arrives after all', () => afterReturn.length > 0);
  return { states: [...states], sendWhileDown: sendWhileDown.message, afterReturn: [...afterReturn] };
}

/** Error frames, as a driver makes them, and a frame that shows the controller to be back. */
async function controllerErrors(bus: CanBus): Promise<VcanReport['controller']> {
  const states: string[] = [];
  const end = bus.onState(({ state }) => states.push(state));
  const seen: string[] = [];
  const unsubscribe = bus.subscribe((frame) => seen.push(formatFrame(frame)));
  for (const text of controllerFrames) {
    cansend(text);
    await until(`${text} arrives`, () => seen.includes(text));
  }
  unsubscribe();
  end();
  return { states, seen, errorFrames: bus.stats.errorFrames };
}

function failure(act: () => void): KerbError {
  try {
    act();
  } catch (error) {
    if (error instanceof KerbError) return error;
    throw error;
  }
  throw new Error('it was expected to fail');
}

async function startFailure(name: string): Promise<string> {
  const { bus } = openBus({ name, kind: 'socketcan' });
  return bus.start().then(
    () => 'it started',
    (error: unknown) => messageOf(error),
  );
}

async function withoutFd(): Promise<VcanReport['noFd']> {
  ip('link', 'add', 'dev', 'vcan1', 'mtu', '16', 'type', 'vcan');
  ip('link', 'set', 'vcan1', 'up');
  const { bus } = openBus({ name: 'vcan1', kind: 'auto' });
  await bus.start();
  bus.send(parseFrameText('123#11'));
  const { message, context } = failure(() => bus.send(parseFrameText('123##011')));
  await bus.stop();
  return { message, noFd: context.noFd };
}

export async function run(): Promise<VcanReport> {
  const { bus, kind, reason } = openBus({ name: 'vcan0', kind: 'auto' });
  await bus.start();
  // The machine's progress lines show the last of these.
  const step = <T>(name: string, act: (bus: CanBus) => Promise<T>): Promise<T> => {
    console.log(name);
    return act(bus);
  };
  const report: VcanReport = {
    chosen: { kind, reason },
    ...(await step('frames in both directions', directions)),
    filters: await step('filters', compareFilters),
    simulator: await step('the simulated car', simulator),
    controller: await step('error frames', controllerErrors),
    ...(await step('an interface that goes and comes', comingsAndGoings)),
    noInterface: await startFailure('vcan9'),
    notCan: await startFailure('lo'),
    noFd: await withoutFd(),
  };
  await bus.stop();
  return report;
}
