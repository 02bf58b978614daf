import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { parseFrameText } from '../../shared/can/candump.ts';
import { encodeFrame, encodeHello, RECORD_SIZE } from '../../shared/can/userspace/userspace-protocol.ts';

const kerb = join(import.meta.dirname, '../kerb.ts');
let folder: string;
let spec: string;
let children: ChildProcess[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kerb-can-cli-'));
  spec = `can0@${join(folder, 'bus.sock')}`;
  children = [];
});

afterEach(async () => {
  for (const child of children) child.kill('SIGKILL');
  await rm(folder, { recursive: true });
});

function run(...args: string[]) {
  const child = spawn(process.execPath, [kerb, 'can', ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  children.push(child);
  const output = { out: '', err: '' };
  child.stdout.on('data', (chunk) => (output.out += chunk));
  child.stderr.on('data', (chunk) => (output.err += chunk));
  const ended = new Promise<number | null>((resolve) => child.once('close', (code) => resolve(code)));
  return { child, output, ended };
}

async function until(what: string, condition: () => boolean): Promise<void> {
  for (let i = 0; i < 1000; i++) {
    if (condition()) return;
    await sleep(10);
  }
  throw new Error(`waited in vain until ${what}`);
}

async function serve() {
  const bus = run('bus', '--socket', join(folder, 'bus.sock'));
  await until('the bus is served', () => bus.output.out.includes('is served at'));
  return bus;
}

it('serves a bus, sends to it, replays a log on it and dumps what passes the filters', async () => {
  const bus = await serve();
  const dump = run('dump', '--bus', spec, '-n', '3', '100:700');
  await until('dump is on the bus', () => dump.output.err.includes('is the userspace bus at'));
  expect(await run('send', '--bus', spec, '123#1122', '223#33', '1FF##1AABB').ended).toBe(0);
  const log = join(folder, 'drive.log');
  await writeFile(log, '(1.000000) can9 201#00\n\n(1.001000) can9 18000100#R2\n(1.001500) can9 101#00\n');
  const replay = run('replay', '--bus', spec, log);
  expect(await replay.ended).toBe(0);
  expect(replay.output.err).toContain('3 frames sent');
  expect(await dump.ended).toBe(0);
  const lines = dump.output.out.trim().split('\n');
  expect(lines.map((line) => line.replace(/^\(\d{10}\.\d{6}\) /, ''))).toEqual([
    'can0 123#1122',
    'can0 1FF##1AABB',
    'can0 18000100#R2',
  ]);
  bus.child.kill('SIGTERM');
  expect(await bus.ended).toBe(0);
  expect((await readdir(folder)).sort()).toEqual(['drive.log']);
});

it('dumps error frames only when asked', async () => {
  await serve();
  const dumps = [run('dump', '--bus', spec), run('dump', '--bus', spec, '--error'), run('dump', '--bus', spec, '#40')];
  for (const { output } of dumps)
    await until('dump is on the bus', () => output.err.includes('is the userspace bus at'));
  // Our own programs never send one: a controller does.
  const socket = createConnection(join(folder, 'bus.sock'));
  const records = ['20000004#0008000000006000', '20000040#0000000000000000', '123#11'].map((text) => {
    const record = Buffer.alloc(RECORD_SIZE);
    encodeFrame(parseFrameText(text), record, 0);
    return record;
  });
  socket.write(Buffer.concat([encodeHello('controller'), ...records]));
  await until('the frames are there', () => dumps[1]!.output.out.trim().split('\n').length === 3);
  await until('the frame is there', () => dumps[0]!.output.out !== '' && dumps[2]!.output.out !== '');
  const frames = dumps.map(({ output }) =>
    output.out
      .trim()
      .split('\n')
      .map((line) => line.split(' ')[2]),
  );
  expect(frames).toEqual([
    ['123#11'],
    ['20000004#0008000000006000', '20000040#0000000000000000', '123#11'],
    ['20000040#0000000000000000'],
  ]);
  socket.destroy();
});

it('ends with one line that says what is wrong', async () => {
  await serve();
  const log = join(folder, 'bad.log');
  await writeFile(log, '(1.000000) can0 123#11\nnonsense\n');
  const [failed, usage] = [1, 2];
  const cases: [string[], number, RegExp][] = [
    [['dump', '--bus', spec, '12'], usage, /CAN filter "12"/],
    [['dump', '--bus', spec, '1:7', 'zzz'], usage, /CAN filter "zzz"/],
    [['dump', '--bus', spec, '-n', 'abc'], usage, /'-n, --count <frames>' argument 'abc' is invalid.* 1 or more/],
    [['send', '--bus', spec, '123#1'], usage, /"123#1", character 6/],
    [['send', '--bus', spec, '123#11', '7AA'], usage, /"7AA"/],
    [['send', '--bus', spec, '123#11', '20000004#0000000000000000'], usage, /error frames cannot be sent/],
    [['replay', '--bus', spec, log], failed, /bad\.log:2: "nonsense"/],
    [['replay', '--bus', spec, join(folder, 'none.log')], failed, /none\.log cannot be read: no such file/],
    [['send', '--bus', 'can0@/nowhere/bus.sock', '123#'], failed, /start one with: kerb can bus/],
    [['send', '--bus', 'tcp:can0', '123#'], failed, /"tcp:can0" is not a valid CAN bus/],
  ];
  const runs = cases.map(([args]) => run(...args));
  for (const [i, { ended, output }] of runs.entries()) {
    expect(await ended, output.err).toBe(cases[i]![1]);
    expect(output.err).toMatch(cases[i]![2]);
    expect(output.err).not.toContain('    at ');
  }
});
