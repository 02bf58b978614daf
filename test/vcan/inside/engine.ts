/**
 * Runs in a kernel with CAN (see main.ts): an OBU with a real Docker Engine whose containers have the bus as an interface
 * of their own, with candump and cansend in them.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { copyFileSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { connect } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { stateLayout } from '../../../obu/config/state-layout.ts';
import { type Engine, reachEngine } from '../../../obu/engine/docker-client.ts';
import type { RunningObu } from '../../../obu/main.ts';
import { getStatus } from '../../../shared/api/control-client.ts';
import type { ObuStatus } from '../../../shared/api/status.ts';
import { until } from '../../support/until.ts';
import type { EngineReport } from '../report.ts';
import { frameTexts, ip } from './can-utils.ts';
import { type Containers, exchange } from './exchange.ts';
import { IMAGE } from './granted.ts';
import { apiOf, serve } from './interface-obu.ts';
import { canLackModules, loadModule } from './modules.ts';

/** In the file system of the machine, which is empty at its start. */
const folder = '/tmp/kerbside';
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

/** The containers of a real engine. */
function containersOf(engine: Engine): Containers {
  return {
    dumped,
    send: async (workload, ...frames) => {
      for (const frame of frames) await inContainer(engine, workload, 'cansend', 'can0', frame);
    },
  };
}

export async function run(): Promise<EngineReport> {
  mkdirSync(folder, { recursive: true });
  const first = spawn(process.execPath, ['test/vcan/inside/interface-obu.ts', folder], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  await untilStatus('the OBU is up', () => true);
  const { host } = await getStatus<ObuStatus>(apiOf(folder)).then(({ engine }) => engine);
  const engine = await reachEngine('private', host);
  importImage(engine);
  const containers = containersOf(engine);
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
  const exchanged = await exchange(containers);
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
  const adopted = await exchange(containers);

  // The bus goes away and comes back: its rules went with it.
  ip('link', 'delete', 'vcan0');
  await until('the bus is down', () => obu.status().buses[0]!.state === 'Down');
  ip('link', 'add', 'dev', 'vcan0', 'mtu', '72', 'type', 'vcan');
  ip('link', 'set', 'vcan0', 'up');
  await until('all rules are back', () => ruleCount() === rulesNeeded);
  const returned = await exchange(containers);

  const [container] = await engine.calls.listContainers({ filters: { label: ['kerbside.workload=some'] } });
  await engine.calls.getContainer(container!.Id).kill();
  await until('it runs again', () => readData('some', 'starts').length === 2, undefined, SLOW_MS);
  const restarted = await exchange(containers);

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
