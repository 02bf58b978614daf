/** `kerb can replay` as a program, on userspace buses. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, expect, it } from 'vitest';
import { silentLog } from '../../shared/base/log.ts';
import { formatFrame } from '../../shared/can/candump.ts';
import { UserspaceBus } from '../../shared/can/userspace/userspace-bus.ts';
import { UserspaceBusServer } from '../../shared/can/userspace/userspace-server.ts';
import { Kerb } from '../../test/support/kerb/kerb.ts';

const kerb = new Kerb();
let folder: string;
let closing: (() => Promise<void>)[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kerb-replay-'));
  closing = [];
});

afterEach(async () => {
  for (const close of closing.reverse()) await close();
  await rm(folder, { recursive: true });
});

afterAll(() => kerb.stop());

/** A bus, what was sent on it, and how the command line names it. */
async function makeBus(name: string) {
  const socketPath = join(folder, `${name}.sock`);
  const server = new UserspaceBusServer({ socketPath, name, log: silentLog() });
  await server.start();
  closing.push(() => server.stop());
  const bus = new UserspaceBus({ name, socketPath, client: 'test', log: silentLog() });
  const frames: string[] = [];
  bus.subscribe((frame) => frames.push(formatFrame(frame)));
  await bus.start();
  closing.push(() => bus.stop());
  return { spec: `${name}@${socketPath}`, frames };
}

async function replay(log: string, ...args: string[]) {
  const file = join(folder, 'drive.log');
  await writeFile(file, log);
  const { code, err } = await kerb.run(['can', 'replay', file, ...args]);
  return { code, said: err.trim().split('\n') };
}

const until = async (frames: readonly string[], count: number) => {
  await expect.poll(() => frames.length, { timeout: 20_000 }).toBe(count);
  return frames;
};

it('says that the clock of the log was set, back or far ahead, and goes on at once', async () => {
  const bus = await makeBus('can0');
  const log = [
    '(100.000000) can0 123#01',
    '(99.000000) can0 123#02',
    '(99.010000) can0 123#03',
    '(1700000000.000000) can0 123#04',
    '(1700000090.000000) can0 123#05',
    '',
  ].join('\n');
  const { code, said } = await replay(log, '--bus', bus.spec);
  expect(code).toBe(0);
  expect(await until(bus.frames, 5)).toEqual(['123#01', '123#02', '123#03', '123#04', '123#05']);
  const jumps = said.filter((line) => line.includes('drive.log:'));
  expect(jumps.map((line) => /drive\.log:(\d+)/.exec(line)![1])).toEqual(['2', '4', '5']);
  expect(said.at(-1)).toMatch(/^5 /);
});

it('keeps a pause that --gap allows', async () => {
  const bus = await makeBus('can0');
  const began = performance.now();
  const { said } = await replay(
    '(1.000000) can0 001#\n(1.300000) can0 002#\n(1.900000) can0 003#\n',
    '--bus',
    bus.spec,
    '--gap',
    '400ms',
  );
  // 300 ms were waited for, 600 were not.
  expect(performance.now() - began).toBeGreaterThan(300);
  expect(said.filter((line) => line.includes('drive.log:'))).toHaveLength(1);
  await until(bus.frames, 3);
});

it('says many jumps with few lines', async () => {
  const bus = await makeBus('can0');
  const log = Array.from({ length: 500 }, (_, i) => `(${(i * 7919) % 1000}.000000) can0 123#\n`).join('');
  const { code, said } = await replay(log, '--bus', bus.spec, '--gap', '1ms');
  expect(code).toBe(0);
  expect(said.length).toBeLessThan(20);
  await until(bus.frames, 500);
});

it('reads times to the nanosecond, and keeps the FD flags that candump writes', async () => {
  const bus = await makeBus('can0');
  const log =
    '(1700000000.123456789) can1 218#0102030405060708\n(1700000000.123456999) vcan1 123##F00\n' +
    '(1700000000.200000) vcan1 123##4\n(1700000000.200000) vcan1 123##1AA\n';
  const { code } = await replay(log, '--bus', bus.spec);
  expect(code).toBe(0);
  expect(await until(bus.frames, 4)).toEqual(['218#0102030405060708', '123##700', '123##4', '123##1AA']);
});

it('sends each interface of the log to the bus that --from gives it, and says what it left out', async () => {
  const [one, two] = [await makeBus('one'), await makeBus('two')];
  const log = ['can0 100#', 'can1 101#', 'can2 102#', 'can1 103#', 'can3 104#']
    .map((l) => `(1.000000) ${l}\n`)
    .join('');
  const to = ['--from', `can0=${one.spec}`, '--from', `can1=${two.spec}`, '--from', `can2=${one.spec}`];
  const { code, said } = await replay(log, ...to, '--from', `can9=${one.spec}`);
  expect(code).toBe(0);
  expect(await until(one.frames, 2)).toEqual(['100#', '102#']);
  expect(await until(two.frames, 2)).toEqual(['101#', '103#']);
  expect(said.some((line) => line.includes('can3') && line.includes('1 '))).toBe(true);
  expect(said.some((line) => line.includes('can9'))).toBe(true);
  expect(said.at(-1)).toMatch(/^4 /);
  // With --bus, what no --from names goes there.
  await replay(log, '--from', `can1=${two.spec}`, '--bus', one.spec);
  expect((await until(one.frames, 5)).slice(2)).toEqual(['100#', '102#', '104#']);
  expect((await until(two.frames, 4)).slice(2)).toEqual(['101#', '103#']);
});

it('says in one line that a log cannot be read', async () => {
  const bus = await makeBus('can0');
  for (const file of [folder, join(folder, 'none.log')]) {
    const { code, err } = await kerb.run(['can', 'replay', file, '--bus', bus.spec]);
    expect(code).toBe(1);
    expect(err).toContain('[1001 ');
    expect(err).not.toContain('    at ');
  }
});

it('warns of a last line that is cut off, and fails at any other', async () => {
  const bus = await makeBus('can0');
  const cut = await replay('(1.000000) can0 123#01\n(1.000100) can0 123#0', '--bus', bus.spec);
  expect(cut.code).toBe(0);
  expect(cut.said.some((line) => line.includes('drive.log:2'))).toBe(true);
  expect(cut.said.at(-1)).toMatch(/^1 /);
  const bad = await replay('(1.000000) can0 123#01\n(1.000100) can0 123#0\n', '--bus', bus.spec);
  expect(bad.code).toBe(1);
  expect(bad.said.some((line) => line.includes('drive.log:2'))).toBe(true);
  const whole = await replay('(1.000000) can0 123#02', '--bus', bus.spec);
  expect(whole.code).toBe(0);
  expect(await until(bus.frames, 3)).toEqual(['123#01', '123#01', '123#02']);
});

it.each([
  ['--from', 'can1'],
  ['--from', '=can0'],
  ['--from', 'can1=a:b:c'],
  ['--from', 'can1=can0', '--from', 'can1=can2'],
  ['--gap', 'long'],
  ['--gap', '597h'],
])('%s %s is wrong usage', async (...args) => {
  expect((await replay('', ...args)).code).toBe(2);
});
