/**
 * Runs in a kernel with CAN (see main.ts): a process in a network namespace of its own stands for a container with a CAN
 * interface, and sends with unmodified cansend and cangen what it may and may not.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { ContainerInterfaces } from '../../../obu/can-interface/container-interface.ts';
import type { StoredCanGrant } from '../../../obu/manifest/stored-grants.ts';
import { DeniedIdLog } from '../../../obu/telemetry/denied-ids.ts';
import { silentLog } from '../../../shared/base/log.ts';
import { formatFrame } from '../../../shared/can/candump.ts';
import { openBus } from '../../../shared/can/open-bus.ts';
import { isLong, rounds } from '../../support/rounds.ts';
import { until } from '../../support/until.ts';
import type { DeniedReport } from '../report.ts';
import { cansend, cansendScript } from './can-utils.ts';
import { dumper, listed } from './granted.ts';
import { needModules } from './modules.ts';

const WORKLOAD = 'sender';
/** Looks are a second apart. What is too much would be there by then. */
const SETTLE_MS = rounds(2000, 3000);
const FLOOD = 5000;

interface Container {
  readonly id: string;
  readonly process: ChildProcess;
}

const counts: Record<string, number> = {};
const ids = new DeniedIdLog();
const faults = new Set<string>();

/** Sends from inside, as a program of the container does. */
function send({ process }: Container, ...frames: string[]): void {
  execFileSync('nsenter', ['-t', `${process.pid}`, '-n', 'sh', '-c', cansendScript('can0', frames)]);
}

const total = () => Object.values(counts).reduce((a, b) => a + b, 0);

async function settled(expected: number): Promise<DeniedReport['steps'][number]> {
  // The machine's progress lines show the last of these.
  console.log(`waiting for ${expected} denied frames`);
  await until(`${expected} frames are counted`, () => total() >= expected).catch(() => undefined);
  await sleep(SETTLE_MS);
  return { counts: { ...counts }, ids: ids.of(WORKLOAD) };
}

export async function run(): Promise<DeniedReport> {
  needModules('vxcan', 'can_gw');
  const { bus } = openBus({ name: 'vcan0', kind: 'socketcan' });
  await bus.start();
  const arrived: string[] = [];
  bus.subscribe((frame) => arrived.push(formatFrame(frame)));
  const containers = new Map<string, Container>();
  const interfaces = new ContainerInterfaces({
    owner: 'denied',
    local: true,
    buses: new Map([['can0', bus]]),
    log: silentLog(),
    pidOf: async (id) => containers.get(id)!.process.pid!,
    report: (one) => {
      if (one.event === 'can-denied') counts[one.reason] = (counts[one.reason] ?? 0) + one.frames;
      if (one.event === 'can-denied-id') ids.add(one.workload, one.bus, one.id);
      if (one.event === 'interface-fault') faults.add(one.error.message);
      if (one.event !== 'workload-fault') return;
      const { code, context } = one.error;
      faults.add(`${code} ${context.bus} ${context.id} ${context.reason}`);
    },
  });
  await interfaces.start();
  const begin = async (grant: Partial<StoredCanGrant>): Promise<Container> => {
    const holder = spawn('unshare', ['--net', 'sleep', '1000'], { stdio: 'ignore' });
    // A part of what its control group is called, and another one each time.
    const id = readFileSync('/proc/self/cgroup', 'utf8')
      .trim()
      .slice(0, 4 - containers.size);
    const container = { id, process: holder };
    containers.set(id, container);
    await interfaces.prepare(dumper(WORKLOAD, grant), id);
    const isApart = () => readlinkSync(`/proc/${holder.pid}/ns/net`) !== readlinkSync('/proc/self/ns/net');
    await until('the namespace is there', isApart);
    await interfaces.attach(id);
    return container;
  };
  const steps: DeniedReport['steps'][number][] = [];
  const own = { read: ['100:700'], write: [listed(0x3e9)] };

  const first = await begin(own);
  // What it may write, and what it reads, is none of it.
  send(first, '3E9#AA', '3E9##1AB');
  cansend('123#11', '555#22', '3EA#33');
  send(first, '3EA#01', '3EA#02', '3EA##103', '000003E9#04', '3E9#R', '20000004#00');
  steps.push(await settled(6));

  execFileSync('nsenter', [
    ...['-t', `${first.process.pid}`, '-n'],
    ...['cangen', 'can0', '-g', '0', '-n', String(FLOOD), '-I', '3EB', '-L', '8'],
  ]);
  steps.push(await settled(6 + FLOOD));

  // It sends and ends: its namespace goes, and what was counted there.
  send(first, '3EC#01', '3EC#02');
  first.process.kill('SIGKILL');
  steps.push(await settled(8 + FLOOD));
  const hostEnds = () => readdirSync('/sys/class/net').filter((name) => name.startsWith('kb'));
  await until('its interface is gone', () => hostEnds().length === 0);
  await interfaces.detach(first.id);

  /** The next container of the same workload, and another manifest while it runs. */
  const goOn = async () => {
    const second = await begin(own);
    send(second, '3EA#01');
    steps.push(await settled(9 + FLOOD));
    await interfaces.follow(() => dumper(WORKLOAD, { write: [listed(0x3ea)] }));
    send(second, '3EA#01', '3E9#01');
    steps.push(await settled(10 + FLOOD));
    await interfaces.follow(() => dumper(WORKLOAD, { read: ['0:0'] }));
    cansend('123#11');
    send(second, '3EA#01', '3E9#R');
    // Removed at once: it is looked at for the last time.
    await interfaces.detach(second.id);
    steps.push(await settled(12 + FLOOD));
    second.process.kill('SIGKILL');
  };
  if (isLong) await goOn();
  await interfaces.stop();
  await bus.stop();
  return { flood: FLOOD, steps, faults: [...faults], arrived, left: hostEnds() };
}
