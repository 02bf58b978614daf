/**
 * Runs in a kernel with CAN (see socketcan.test.ts), where vcan0 exists: an OBU with a real Docker Engine whose
 * containers have the bus as an interface of their own, with candump and cansend in them. Writes what happened to the
 * file that its first argument names; the second is a folder that is empty.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { copyFileSync, mkdirSync, readdirSync, readFileSync, readlinkSync, symlinkSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ContainerInterfaces } from '../../obu/can-interface/container-interface.ts';
import { listRules } from '../../obu/can-interface/net-tools.ts';
import { stateLayout } from '../../obu/config/state-layout.ts';
import { type Engine, reachEngine } from '../../obu/engine/docker-client.ts';
import type { GatewayRule } from '../../obu/grants/interface-rules.ts';
import type { RunningObu } from '../../obu/main.ts';
import type { StoredCanGrant } from '../../obu/manifest/stored-grants.ts';
import { getStatus } from '../../shared/api/control-client.ts';
import type { ObuStatus } from '../../shared/api/status.ts';
import { silentLog } from '../../shared/base/log.ts';
import { openBus } from '../../shared/can/open-bus.ts';
import { until } from '../support/until.ts';
import { Candump, cansend, frameTexts, ip } from './can-utils.ts';
import { apiOf, dumper, IMAGE, listed, serve } from './interface-obu.ts';
import { canLackModules, loadModule } from './modules.ts';
import type { InterfaceReport } from './report.ts';

const [, , reportFile, folder] = process.argv as [string, string, string, string];
const SLOW_MS = 300_000;

/** An image with busybox, candump and cansend, and the libraries that they need. */
function importImage(engine: Engine): void {
  const root = join(folder, 'root');
  mkdirSync(join(root, 'bin'), { recursive: true });
  for (const program of ['/usr/bin/busybox', '/usr/bin/candump', '/usr/bin/cansend']) {
    copyFileSync(program, join(root, 'bin', basename(program)));
  }
  for (const applet of ['sh', 'sleep', 'cat', 'id']) symlinkSync('busybox', join(root, 'bin', applet));
  const libraries = execFileSync('ldd', ['/usr/bin/candump'], { encoding: 'utf8' }).match(/\/\S+/g)!;
  for (const library of libraries) {
    mkdirSync(join(root, dirname(library)), { recursive: true });
    copyFileSync(library, join(root, library));
  }
  const tar = join(folder, 'root.tar');
  execFileSync('tar', ['-C', root, '-cf', tar, '.']);
  execFileSync('docker', ['--host', engine.host, 'import', tar, IMAGE]);
}

/** Runs a program in the container of a workload, as a user of the container would. */
async function inContainer(engine: Engine, workload: string, ...Cmd: string[]): Promise<string> {
  const [found] = await engine.calls.listContainers({ filters: { label: [`kerbside.workload=${workload}`] } });
  const exec = await engine.calls
    .getContainer(found!.Id)
    .exec({ Cmd, AttachStdout: true, AttachStderr: true, Tty: true });
  const stream = await exec.start({ Tty: true });
  let output = '';
  stream.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  await new Promise((resolve) => stream.once('end', resolve));
  return output.trim();
}

function readData(workload: string, file: string): string[] {
  try {
    return readFileSync(join(folder, 'state', 'data', workload, file), 'utf8')
      .trim()
      .split('\n')
      .filter(Boolean);
  } catch {
    return [];
  }
}

/** Frames that the candump of a workload has logged so far. */
function dumped(workload: string): string[] {
  return frameTexts(readData(workload, 'dump.log'));
}

async function untilStatus(what: string, condition: (status: ObuStatus) => boolean): Promise<void> {
  let status: ObuStatus | undefined;
  const look = async () => {
    status = await getStatus<ObuStatus>(apiOf(folder)).catch(() => undefined);
    return status !== undefined && condition(status);
  };
  await until(what, look, () => status, SLOW_MS);
}

const reasonOf = ({ workloads }: ObuStatus, name: string) => workloads.find((one) => one.name === name)!.reason;
const kernelInterfaces = () => readdirSync('/sys/class/net').filter((name) => name.startsWith('kb'));

async function untilDumping(times: number): Promise<void> {
  const all = () => ['some', 'all'].every((name) => readData(name, 'starts').length >= times);
  await until('candump runs in both containers', all, undefined, SLOW_MS);
}

function ruleCount(): number {
  // Its exit status means nothing.
  const list = execFileSync('sh', ['-c', 'cangw -L || true'], { encoding: 'utf8' });
  return list.split('\n').filter((line) => line.startsWith('cangw')).length;
}

/** Whether an OBU that lives serves the gateway of this workload; the socket of a dead one is still there. */
function isServed(workload: string): Promise<boolean> {
  const path = join(stateLayout(join(folder, 'state')).gateways, workload, 'gateway.sock');
  return new Promise((resolve) => {
    const socket = connect(path, () => resolve(true));
    socket.once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

/** Sends from everywhere what is granted and what is not, and looks at what arrives where. */
async function exchange(engine: Engine): Promise<InterfaceReport['exchange']> {
  const before = { some: dumped('some').length, all: dumped('all').length };
  const host = new Candump('');
  await until('candump listens', () => {
    cansend('7FF#00');
    return host.lines.length > 0;
  });
  const frames = ['123#11', '100#22', '200#33', '00000123#44', '123#R', '101##155', '200##166'];
  for (const frame of frames) cansend(frame);
  await inContainer(engine, 'some', 'cansend', 'can0', '3E9#AA');
  await inContainer(engine, 'some', 'cansend', 'can0', '3E9##1AB');
  // Not granted: another id, a remote frame, an extended one with the same digits, and anything from a mere reader.
  await inContainer(engine, 'some', 'cansend', 'can0', '3EA#AA');
  await inContainer(engine, 'some', 'cansend', 'can0', '3E9#R');
  await inContainer(engine, 'some', 'cansend', 'can0', '000003E9#AA');
  await inContainer(engine, 'all', 'cansend', 'can0', '3E9#BB');
  cansend('1FE#00');
  await until('the last frame is everywhere', () =>
    [dumped('some').slice(before.some), dumped('all').slice(before.all), host.frames].every((list) =>
      list.includes('1FE#00'),
    ),
  );
  await sleep(300);
  const result = {
    some: dumped('some').slice(before.some),
    all: dumped('all')
      .slice(before.all)
      .filter((text) => text !== '7FF#00'),
    host: host.frames.filter((text) => text !== '7FF#00'),
  };
  await host.stop();
  return result;
}

async function run(): Promise<InterfaceReport> {
  const first = spawn(process.execPath, ['test/vcan/interface-obu.ts', folder], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  await untilStatus('the OBU is up', () => true);
  const { host } = await getStatus<ObuStatus>(apiOf(folder)).then(({ engine }) => engine);
  const engine = await reachEngine('private', host);
  importImage(engine);
  const missing = canLackModules ? await withoutModules() : undefined;
  await untilDumping(1);
  const inside = {
    user: await inContainer(engine, 'some', 'id', '-u'),
    capabilities: await inContainer(
      engine,
      'some',
      'sh',
      '-c',
      'while read a b; do [ $a = CapEff: ] && echo $b; done < /proc/1/status',
    ),
    interfaces: (await inContainer(engine, 'some', 'sh', '-c', 'echo /sys/class/net/*'))
      .split(' ')
      .map((path) => basename(path)),
  };
  const exchanged = await exchange(engine);
  const rulesNeeded = ruleCount();

  await killed(first);
  const obu: RunningObu = await serve(folder);
  await until(
    'both workloads are served',
    async () => (await isServed('some')) && (await isServed('all')),
    undefined,
    SLOW_MS,
  );
  const startsAfterAdoption = readData('some', 'starts').length;
  const adopted = await exchange(engine);

  // The bus goes away and comes back: its rules went with it.
  ip('link', 'delete', 'vcan0');
  await until('the bus is down', () => obu.status().buses[0]!.state === 'Down');
  ip('link', 'add', 'dev', 'vcan0', 'mtu', '72', 'type', 'vcan');
  ip('link', 'set', 'vcan0', 'up');
  await until('all rules are back', () => ruleCount() === rulesNeeded);
  const returned = await exchange(engine);

  const [container] = await engine.calls.listContainers({ filters: { label: ['kerbside.workload=some'] } });
  await engine.calls.getContainer(container!.Id).kill();
  await until('it runs again', () => readData('some', 'starts').length === 2, undefined, SLOW_MS);
  const restarted = await exchange(engine);

  const whileRunning = kernelInterfaces().length;
  await obu.stop();
  return {
    missing,
    inside,
    exchange: exchanged,
    startsAfterAdoption,
    adopted,
    returned,
    restarted,
    whileRunning,
    left: { interfaces: kernelInterfaces(), rules: ruleCount() },
    regrants: await regrants(),
    unprivileged: withoutCapability(),
  };
}

/** Why a workload cannot start before the kernel has what it needs, one module after the other. */
async function withoutModules(): Promise<string[]> {
  await untilStatus('vxcan is missed', (status) => reasonOf(status, 'some').includes('vxcan'));
  const missing = [reasonOf(await getStatus<ObuStatus>(apiOf(folder)), 'some')];
  loadModule('vxcan');
  await untilStatus('can-gw is missed', (status) => reasonOf(status, 'some').includes('can-gw'));
  missing.push(reasonOf(await getStatus<ObuStatus>(apiOf(folder)), 'some'));
  await until('nothing is left of an attempt', () => kernelInterfaces().length === 0);
  loadModule('can_gw');
  return missing;
}

/** A manifest that changes while the container runs, held against the rules of the kernel. */
async function regrants(): Promise<InterfaceReport['regrants']> {
  const { bus } = openBus({ name: 'vcan0', kind: 'socketcan' });
  await bus.start();
  // It stands for a container: a process in a network namespace of its own, and what tells which one it is.
  const holder = spawn('unshare', ['--net', 'sleep', '1000'], { stdio: 'ignore' });
  const id = readFileSync('/proc/self/cgroup', 'utf8').trim().slice(0, 12);
  const troubles: string[] = [];
  const interfaces = new ContainerInterfaces({
    owner: 'regrants',
    local: true,
    buses: new Map([['can0', bus]]),
    log: silentLog(),
    pidOf: async () => holder.pid!,
    report: (one) => one.event === 'interface-fault' && troubles.push(one.error.message),
  });
  const inside = () => readFileSync(`/proc/${holder.pid}/net/dev`, 'utf8').includes('can0:');
  const look = async () => ({ inside: inside(), rules: (await listRules()).map(describeRule).sort() });
  const steps: InterfaceReport['regrants']['steps'][number][] = [];
  const grants: readonly (Partial<StoredCanGrant> | undefined)[] = [
    { read: ['100:700'], write: [listed(0x3e9)] },
    { read: ['200:700'] },
    { read: ['200:700'], as: 'socket' },
    { read: ['300:700'], write: [listed(0x3ea)] },
    { write: [{ ...listed(0x3ea), maxPerSecond: 1 }] },
    undefined,
  ];
  await interfaces.start();
  await interfaces.prepare(dumper('changing', grants[0]!), id);
  await until('the namespace is there', () => {
    return readlinkSync(`/proc/${holder.pid}/ns/net`) !== readlinkSync('/proc/self/ns/net');
  });
  await interfaces.attach(id);
  for (const grant of grants) {
    const workload = dumper('changing', grant ?? {});
    const now = grant === undefined ? { ...workload, grants: { ...workload.grants, can: [] } } : workload;
    await interfaces.follow(() => now);
    steps.push(await look());
  }
  await interfaces.stop();
  holder.kill('SIGKILL');
  await bus.stop();
  return { steps, troubles };
}

function describeRule({ from, to, fd, cube }: GatewayRule): string {
  const side = (name: string) => (name === 'vcan0' ? 'bus' : 'container');
  return `${side(from)} to ${side(to)}${fd ? ' FD' : ''} ${cube.id.toString(16)}:${cube.mask.toString(16)}`;
}

async function killed(child: ChildProcess): Promise<void> {
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await gone;
}

/** What a root without CAP_NET_ADMIN is told. */
function withoutCapability(): string {
  const code = `import { ip } from './obu/can-interface/net-tools.ts';
    await ip('link', 'add', 'kbtest', 'type', 'vxcan').catch((error) => console.log(error.message));`;
  const drop = ['--inh-caps=-net_admin', '--bounding-set=-net_admin'];
  const node = [process.execPath, '--input-type=module-typescript', '-e', code];
  return execFileSync('setpriv', [...drop, ...node], { encoding: 'utf8' }).trim();
}

try {
  mkdirSync(folder, { recursive: true });
  writeFileSync(reportFile, JSON.stringify(await run()));
} catch (error) {
  writeFileSync(reportFile, JSON.stringify({ failed: error instanceof Error ? error.stack : String(error) }));
  process.exitCode = 1;
}
process.exit();
