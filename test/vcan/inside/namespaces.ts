/**
 * Runs in a kernel with CAN (see main.ts): processes in network namespaces of their own stand for containers with a CAN
 * interface, so that no engine is needed.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { ContainerInterfaces } from '../../../obu/can-interface/container-interface.ts';
import { listRules } from '../../../obu/can-interface/net-tools.ts';
import type { GatewayRule } from '../../../obu/grants/interface-rules.ts';
import type { StoredCanGrant } from '../../../obu/manifest/stored-grants.ts';
import { messageOf } from '../../../shared/base/errors.ts';
import { silentLog } from '../../../shared/base/log.ts';
import type { CanBus } from '../../../shared/can/bus.ts';
import { openBus } from '../../../shared/can/open-bus.ts';
import { isLong } from '../../support/rounds.ts';
import { until } from '../../support/until.ts';
import type { Exchange, NamespacesReport } from '../report.ts';
import { Candump, cansendScript, ip } from './can-utils.ts';
import { type Containers, exchange } from './exchange.ts';
import { dumper, GRANTS, listed } from './granted.ts';
import { canLackModules, hasModule, loadModule, needModules } from './modules.ts';

/** What tells whose process it is, as an engine's control groups do: a part of what ours is called, another one for each. */
const ids = [4, 3, 2].map((length) => readFileSync('/proc/self/cgroup', 'utf8').trim().slice(0, length));

/** A process in a network namespace of its own, and programs that run there. */
class Namespace {
  readonly id: string;
  readonly #holder: ChildProcess;
  #dump: Candump | undefined;

  constructor(id: string) {
    this.id = id;
    this.#holder = spawn('unshare', ['--net', 'sleep', '1000'], { stdio: 'ignore' });
  }

  get pid(): number {
    return this.#holder.pid!;
  }

  /** What its candump has logged. */
  get dumped(): string[] {
    return this.#dump!.frames;
  }

  /** Starts a candump on its interface. */
  async listen(): Promise<void> {
    this.#dump = new Candump('', [...this.#enter, 'candump', '-L', 'can0']);
    const receivers = `/proc/${this.pid}/net/can/rcvlist_all`;
    await until('candump listens', () => readFileSync(receivers, 'utf8').includes('can0'));
  }

  async stop(): Promise<void> {
    await this.#dump?.stop();
    this.#holder.kill('SIGKILL');
  }

  get #enter(): string[] {
    return ['nsenter', '-t', `${this.pid}`, '-n'];
  }

  get hasInterface(): boolean {
    return readFileSync(`/proc/${this.pid}/net/dev`, 'utf8').includes('can0:');
  }

  untilThere(): Promise<unknown> {
    const own = () => readlinkSync(`/proc/${this.pid}/ns/net`) !== readlinkSync('/proc/self/ns/net');
    return until('the namespace is there', own);
  }

  send(frames: readonly string[]): void {
    const [program, ...args] = [...this.#enter, 'sh', '-c', cansendScript('can0', frames)];
    execFileSync(program!, args);
  }
}

function interfacesOf(bus: CanBus, namespaces: readonly Namespace[], onFault: (message: string) => void) {
  return new ContainerInterfaces({
    owner: 'namespaces',
    local: true,
    buses: new Map([['can0', bus]]),
    log: silentLog(),
    pidOf: async (id) => namespaces.find((one) => one.id === id)!.pid,
    report: (one) => one.event === 'interface-fault' && onFault(one.error.message),
  });
}

/** Why no container could start before the kernel has what it needs, one module after the other. */
async function withoutModules(bus: CanBus): Promise<string[] | undefined> {
  if (!canLackModules || hasModule('vxcan') || hasModule('can_gw')) return undefined;
  const interfaces = interfacesOf(bus, [], () => {});
  await interfaces.start();
  const grant = { read: ['100:700'] };
  const fault = () => interfaces.prepare(dumper('early', grant), ids[0]!).then(() => 'none', messageOf);
  const missing = [await fault()];
  loadModule('vxcan');
  missing.push(await fault());
  await interfaces.stop();
  return missing;
}

/** The bus goes away and comes back: its rules went with it. */
async function exchangeAgain(bus: CanBus, world: Containers): Promise<Exchange> {
  const rulesNeeded = (await listRules()).length;
  ip('link', 'delete', 'vcan0');
  await until('the bus is down', () => bus.state.state === 'Down');
  ip('link', 'add', 'dev', 'vcan0', 'mtu', '72', 'type', 'vcan');
  ip('link', 'set', 'vcan0', 'up');
  await until('all rules are back', async () => (await listRules()).length === rulesNeeded);
  return exchange(world);
}

async function exchanges(bus: CanBus) {
  const containers = { some: new Namespace(ids[0]!), all: new Namespace(ids[1]!) };
  const interfaces = interfacesOf(bus, Object.values(containers), () => {});
  await interfaces.start();
  for (const name of ['some', 'all'] as const) {
    const { read, write } = GRANTS[name];
    const namespace = containers[name];
    await interfaces.prepare(
      dumper(name, { read, write: write.map((id) => listed(Number.parseInt(id, 16))) }),
      namespace.id,
    );
    await namespace.untilThere();
    await interfaces.attach(namespace.id);
    await namespace.listen();
  }
  const world = {
    dumped: (name: 'some' | 'all') => containers[name].dumped,
    send: (name: 'some' | 'all', ...frames: string[]) => containers[name].send(frames),
  };
  const first = await exchange(world);
  const again = isLong ? { returned: await exchangeAgain(bus, world) } : {};
  const whileRunning = hostEnds().length;
  for (const namespace of Object.values(containers)) {
    await namespace.stop();
    await interfaces.detach(namespace.id);
  }
  await interfaces.stop();
  return {
    exchange: first,
    ...again,
    whileRunning,
    left: { interfaces: hostEnds(), rules: (await listRules()).length },
  };
}

/** A manifest that changes while the container runs, held against the rules of the kernel. */
async function regrants(bus: CanBus): Promise<NamespacesReport['regrants']> {
  const holder = new Namespace(ids[2]!);
  const troubles: string[] = [];
  const interfaces = interfacesOf(bus, [holder], (message) => troubles.push(message));
  const look = async () => ({
    inside: holder.hasInterface,
    rules: (await listRules()).map(describeRule).sort(),
  });
  const steps: NamespacesReport['regrants']['steps'][number][] = [];
  const grants: readonly (Partial<StoredCanGrant> | undefined)[] = [
    { read: ['100:700'], write: [listed(0x3e9)] },
    { read: ['200:700'] },
    { read: ['200:700'], as: 'socket' },
    { read: ['300:700'], write: [listed(0x3ea)] },
    { write: [{ ...listed(0x3ea), maxPerSecond: 1 }] },
    undefined,
  ];
  await interfaces.start();
  await interfaces.prepare(dumper('changing', grants[0]!), holder.id);
  await holder.untilThere();
  await interfaces.attach(holder.id);
  for (const grant of grants) {
    const workload = dumper('changing', grant ?? {});
    const now = grant === undefined ? { ...workload, grants: { ...workload.grants, can: [] } } : workload;
    await interfaces.follow(() => now);
    steps.push(await look());
  }
  await interfaces.stop();
  await holder.stop();
  return { steps, troubles };
}

function describeRule({ from, to, fd, cube }: GatewayRule): string {
  const side = (name: string) => (name === 'vcan0' ? 'bus' : 'container');
  return `${side(from)} to ${side(to)}${fd ? ' FD' : ''} ${cube.id.toString(16)}:${cube.mask.toString(16)}`;
}

const hostEnds = () => readdirSync('/sys/class/net').filter((name) => name.startsWith('kb'));

export async function run(): Promise<NamespacesReport> {
  const { bus } = openBus({ name: 'vcan0', kind: 'socketcan' });
  await bus.start();
  const missing = await withoutModules(bus);
  const afterMissing = hostEnds();
  needModules('vxcan', 'can_gw');
  const report = { missing, afterMissing, ...(await exchanges(bus)), regrants: await regrants(bus) };
  await bus.stop();
  return report;
}
