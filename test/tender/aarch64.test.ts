/**
 * What is built for arm64, run here by qemu-user: loader, results, faults, deadlines, and that a call leaves nothing behind.
 * qemu-user has no seccomp, so the tender is the test build that goes on without; that the guest is sealed is what this
 * cannot show (broker/unikernel/README.md).
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { TenderOutcome } from '../../broker/tenders/process/tender.ts';
import { tenderBinary } from '../../broker/tenders/process/tender-binary.ts';
import { digestOf } from '../../shared/task-package/format.ts';
import { Kerb } from '../support/kerb/kerb.ts';
import { describeWhere } from '../support/machine/not-run.ts';
import { rounds, rows } from '../support/rounds.ts';
import { answer, built, fault, guestImage, Tenders, taskImage, u64 } from './support.ts';

const AARCH64 = '-aarch64';
const top = join(import.meta.dirname, '../..');

/** Why these tests cannot be run; undefined when they can. */
function missing(): string | undefined {
  if (process.arch !== 'x64') return 'they are for x86-64 machines; on this one it is not the other architecture';
  if (!existsSync('/usr/bin/qemu-aarch64')) return 'qemu-user is not installed';
  if (!existsSync(join(top, 'build/unikernel-aarch64/qemu-tender')))
    return 'nothing is built for arm64: gcc-aarch64-linux-gnu is not installed, or what it links could not be fetched';
  return undefined;
}
const trouble = process.env.KERB_TEST_ARM64 === 'required' ? undefined : missing();

const empty = Buffer.alloc(0);
const bytes = (size: number, seed = 1): Buffer => {
  const result = Buffer.alloc(size);
  for (let i = 0; i + 4 <= size; i += 4) result.writeUInt32LE(crc32(`${seed} ${i}`), i);
  return result;
};
const header = (...values: number[]): Buffer => Buffer.from(new Uint32Array(values).buffer);

describeWhere(trouble && `${trouble} (npm test as root sets it up)`, 'arm64', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'kerb-aarch64-'));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const tenders = new Tenders('process', AARCH64);
  const here = new Tenders('process');

  describe('the tender', () => {
    test('says that it is not sealed, and that its counter stays readable', async () => {
      const { confinement } = await tenders.guest('hello');
      expect(confinement).toMatch(/; NOT SEALED: no seccomp here, and this is the test build that goes on$/);
      expect(confinement).toContain('cannot switch off the time-stamp counter');
    });

    test('as it is installed refuses to go on without seccomp', () => {
      const installed = readFileSync(built('kerb-tender', AARCH64));
      expect(installed.includes('NOT SEALED')).toBe(false);
      const script = join(folder, 'sealed');
      const run = readFileSync(built('qemu-tender', AARCH64), 'utf8').replace('-unsealed', '');
      writeFileSync(script, run, { mode: 0o755 });
      const tender = tenders.make(guestImage('hello', AARCH64), script);
      return expect(tender.start()).rejects.toMatchObject({
        code: 8002,
        message: expect.stringContaining('this kernel has no seccomp filters'),
      });
    });

    test('has no isolation `vm`, and says so; auto is `process`', async () => {
      const vm = new Tenders('vm', AARCH64).make(guestImage('hello', AARCH64));
      await expect(vm.start()).rejects.toMatchObject({
        code: 8002,
        message: expect.stringContaining('isolation `vm` is not supported on this machine'),
      });
    });

    test('refuses an image for the other machine, and the other one refuses its', () => {
      const refusal = (binary: string, image: string): string =>
        spawnSync(binary, ['--check', image], { encoding: 'utf8' }).stderr;
      expect(refusal(built('qemu-tender', AARCH64), guestImage('hello'))).toContain('another machine (62)');
      expect(refusal(tenderBinary(), guestImage('hello', AARCH64))).toContain('another machine (183)');
    });

    test('refuses an image whose note names the other machine, and one that is cut anywhere', () => {
      const good = readFileSync(guestImage('tls', AARCH64));
      const path = join(folder, 'image');
      const check = (image: Buffer): { status: number | null; stderr: string } => {
        writeFileSync(path, image);
        return spawnSync(built('qemu-tender', AARCH64), ['--check', path], { encoding: 'utf8' });
      };
      expect(check(good)).toMatchObject({ status: 0, stderr: '' });
      const note = good.indexOf('Kerbside\0');
      good.writeUInt32LE(1, note + 12);
      expect(check(good)).toMatchObject({ status: 2, stderr: expect.stringContaining('another target (1)') });
      for (let size = 0; size <= note + 132; size += size < 512 ? rounds(311, 31) : rounds(19_531, 977)) {
        expect(check(good.subarray(0, size)).status, `cut at ${size}`).toBe(2);
      }
    });
  });

  describe('gives byte for byte what x86-64 gives:', () => {
    const readings = Array.from({ length: 24 }, (_, hour) => (((hour * 7919) % 4000) / 100).toFixed(3));
    const sealed = Buffer.concat([Buffer.from([0]), bytes(44), header(100), bytes(70_000, 3)]);
    const inputs: Record<string, Buffer[]> = {
      echo: [empty, bytes(4096), bytes(300_000)],
      'dashcam-filter': [
        empty,
        Buffer.concat([header(101, 99), bytes(101 * 99)]),
        Buffer.concat([header(640, 360), bytes(640 * 360, 2)]),
      ],
      aggregate: [
        empty,
        Buffer.from(new Float64Array([42.5]).buffer),
        Buffer.from(Float64Array.from({ length: 10_000 }, (_, i) => Math.sin(i) * 1e3 + i / 7).buffer),
        Buffer.from(new Float64Array([1, Number.NaN]).buffer),
        Buffer.from(new Float64Array([1.7e308, 1.7e308]).buffer),
      ],
      compress: [empty, Buffer.from('lane marking '.repeat(9_000)), bytes(1 << 20)],
      crypt: [sealed, Buffer.from([7])],
      aqi: ['PM2.5', 'PM10', 'O3', 'CO', 'SO2', 'NO2', 'XX'].map((what) => Buffer.from([what, ...readings].join('\n'))),
      'aqi-merge': [Buffer.from('PM2.5 35.9 102\nO3 0.078 126\n'), Buffer.from('nonsense')],
    };
    /** All but what it has cost. An output as its digest, which a failed test prints more readily. */
    const said = (end: TenderOutcome): unknown => ({
      outcome: end.outcome,
      log: end.log,
      ...(end.outcome === 'done' ? { status: end.status, size: end.output.length, output: digestOf(end.output) } : {}),
      ...(end.outcome === 'aborted' ? { code: end.code } : {}),
      ...(end.outcome === 'bad-output' ? { reason: end.reason } : {}),
    });
    test.each(rows(2, [...new Set(['dashcam-filter', 'aqi', ...Object.keys(inputs)])]))('task %s', async (name) => {
      for (const input of inputs[name]!) {
        const ours = said(await (await here.task(name)).call(input, 10_000));
        expect(said(await (await tenders.task(name)).call(input, 10_000))).toEqual(ours);
      }
    });

    const guests = rows<[string, Buffer]>(4, [
      ['hello', Buffer.from('road')],
      ['globals', empty],
      ['zlib', bytes(60_000)],
      ['abort', Buffer.from([9])],
      ['stack-protector', Buffer.alloc(64)],
      ['bad-status', Buffer.from([200])],
      ['big-output', u64(2n ** 63n)],
      ['tls', empty],
      ['libc', empty],
      ['heap', empty],
      ['log-flood', empty],
      ['stack-protector', empty],
      ['heap-corrupt', empty],
      ['bad-status', empty],
      ['big-output', u64(4096)],
    ]);
    test.each(guests)('guest %s', async (name, input) => {
      for (let i = 0; i < 2; i++) {
        expect(said(await tenders.call(name, input))).toEqual(said(await here.call(name, input)));
      }
    });

    test('vectors, long double and libm, the last to a unit in the last place', async () => {
      const numbers = async (from: Tenders): Promise<string[]> => answer(await from.call('float')).split(' ');
      const [root, mixed, ...rest] = await numbers(tenders);
      const [root2, mixed2, ...rest2] = await numbers(here);
      expect([root, ...rest]).toEqual([root2, ...rest2]);
      expect(Math.abs(Number(mixed) - Number(mixed2))).toBeLessThan(1e-14);
    });
  });

  describe('ends a guest', () => {
    const memory = rows<[string, string, Buffer, RegExp]>(4, [
      ['null', 'null', empty, /^SIGSEGV: null pointer: access to 0x0, instruction at 0x1/],
      ['recursion', 'recursion', empty, /^SIGSEGV: stack overflow: guard page at 0x20000[0-9a-f]{3}/],
      ['behind its output', 'output-overrun', empty, /access to unmapped address 0x36001000/],
      ['writing text', 'write-to', u64(0), /^SIGSEGV: access to 0x1.* does not allow/],
      ['writing the info page', 'write-to', u64(0x30000000), /does not allow/],
      ['in the kernel', 'write-to', u64(0xffff888000000000n), /^SIGSEGV/],
      ['jumping into data', 'jump-to', empty, /^SIGSEGV: access to 0x1/],
      ['writing its input', 'write-to', u64(0x31000000), /does not allow/],
      ['writing the gate', 'write-to', u64(0x3ffff000), /does not allow/],
      ['below the image', 'write-to', u64(0xff000), /unmapped address 0xff000/],
      ['above the guest, where qemu-user has the tender', 'write-to', u64(0x40000000), /unmapped address/],
      ['jumping into its input', 'jump-to', u64(0x31000000), /^SIGSEGV: access to 0x31000000/],
      ['jumping into the stack', 'jump-to', u64(0x20040000), /^SIGSEGV: access to 0x20040000/],
    ]);
    test.each(memory)('%s', async (_what, guest, input, report) => {
      expect(fault(await tenders.call(guest, input))).toMatch(report);
    });

    const instructions = rows<[string, string, RegExp]>(2, [
      ['hlt', 'h', /^SIGILL: illegal instruction, instruction at 0x1/],
      ['brk', 'b', /^SIGTRAP: breakpoint/],
      ['an address of neither half', 'n', /^SIGSEGV: access to/],
      ['udf without a stack', 's', /^SIGILL/],
      // A kernel says SIGSEGV here; qemu-user ends the process with the signal that it could not deliver.
      [
        'udf at the end of the fault stack',
        'S',
        /^SIGSEGV: memory fault, and no stack left|^SIGILL: illegal instruction$/,
      ],
      ['holding off interrupts', 'c', /^SIGILL/],
      ['reading the page table register', 'p', /^SIGILL/],
      ['writing the system control register', 'm', /^SIGILL/],
      ['hvc', 'v', /^SIGILL/],
      ['smc', 'V', /^SIGILL/],
      ['udf', 'u', /^SIGILL/],
    ]);
    test.each(instructions)('%s', async (_what, letter, report) => {
      expect(fault(await tenders.call('instruction', letter))).toMatch(report);
    });

    test('but not for a division by zero, which is 0 on this processor', async () => {
      expect(await tenders.call('divide')).toMatchObject({ outcome: 'done', status: 0 });
    });

    test.each(rows(1, ['log-endless', 'loop']))('%s at its deadline, with its log', async (guest) => {
      for (let i = 0; i < rounds(2, 3); i++) {
        const outcome = await tenders.call(guest, empty, 500); // emulated, and perhaps on a busy machine
        expect(outcome.outcome).toBe('deadline');
        expect(outcome.log).toMatch(/^looping|^line 0 of a flood/);
        expect((await tenders.guest(guest)).state).toBe('Waiting');
      }
    });

    test('that forges its mailbox as it ends others', async () => {
      const forge = (code: number) => tenders.call('mailbox', Buffer.concat([Buffer.from([code]), u64(-1)]));
      expect(await forge(0x10)).toMatchObject({ outcome: 'bad-output' });
      expect(await forge(0x11)).toMatchObject({ outcome: 'aborted', code: 0xffffffff });
      expect(fault(await forge(0x12))).toContain('signal 4294967295');
      expect(fault(await forge(0x25))).toBe('ended with exit code 37 without ringing a doorbell');
    });
  });

  describe('an earlier call leaves nothing', () => {
    const message = (letter: string, value: bigint): Buffer => Buffer.concat([Buffer.from(letter), u64(value)]);
    /** Six counts that have to be 0, and in their midst the bytes that were looked at. */
    const look = async (letter: string, value: bigint): Promise<number[]> => {
      const outcome = await tenders.call('leak', message(letter, ~value));
      if (outcome.outcome !== 'done') throw new Error(JSON.stringify(outcome));
      const found = Array.from({ length: 7 }, (_, i) => Number(outcome.output.readBigUInt64LE(i * 8)));
      expect(found.splice(5, 1)[0]).toBeGreaterThan(900_000);
      return found;
    };
    const pattern = (i: number): bigint =>
      (BigInt(crc32(`a ${i}`)) << 32n) | BigInt(crc32(`b ${i}`)) | 0x0101010101010101n;

    test('that the looker would not find', async () => {
      expect(await look('d', pattern(0))).toEqual([8, 1, 1, 1, 1, 1]);
    });

    test.each<[string, string, number, string]>([
      ['ended well', 'f', rounds(4, 100), 'done'],
      ['faulted', 'X', rounds(3, 20), 'fault'],
      ['were killed', 'F', rounds(2, 10), 'deadline'],
    ])('after calls that filled everything and %s', async (_end, letter, count, outcome) => {
      for (let i = 1; i <= count; i++) {
        const budget = outcome === 'deadline' ? 250 : 5_000;
        expect((await tenders.call('leak', message(letter, pattern(i)), budget)).outcome).toBe(outcome);
        expect(await look('l', pattern(i))).toEqual([0, 0, 0, 0, 0, 0]);
      }
    });
  });

  describe('kerb task', () => {
    let commands: Kerb;
    beforeAll(() => {
      commands = new Kerb(folder);
    });
    afterAll(() => commands.stop());
    const kerb = async (...args: string[]): Promise<{ status: number; stdout: string; stderr: string }> => {
      const { code, out, err } = await commands.run(['task', ...args]);
      return { status: code, stdout: out, stderr: err };
    };

    test.each(rows(1, ['echo', 'aqi-merge']))(
      'build packs images of %s for both machines, and inspect shows them',
      async (name) => {
        const out = join(folder, name);
        const task = join(top, 'examples/tasks', name);
        const { status, stderr } = await kerb('build', task, '--arch', 'x86_64,aarch64', '-o', out);
        expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
        const { stdout } = await kerb('inspect', out);
        for (const [architecture, machine] of [
          ['aarch64', AARCH64],
          ['x86_64', ''],
        ] as const) {
          const [, digest, size] = new RegExp(`^${architecture} +sha256:([0-9a-f]{64}), (\\d+) bytes$`, 'm').exec(
            stdout,
          )!;
          const image = readFileSync(join(out, 'blobs/sha256', digest!));
          expect(image.length).toBe(Number(size));
          expect(image.equals(readFileSync(taskImage(name, machine)))).toBe(true);
        }
      },
    );

    test('run takes the image of this machine, and refuses a package without one', async () => {
      const both = await kerb('run', join(folder, 'echo'), '--isolation', 'process');
      expect(both.stderr).toMatch(/^status 0, isolation process/);
      const other = join(folder, 'other');
      expect((await kerb('build', join(top, 'examples/tasks/echo'), '--arch', 'aarch64', '-o', other)).status).toBe(0);
      const refused = await kerb('run', other);
      expect(refused.status).toBe(1);
      expect(refused.stderr).toMatch(/has no image for x86_64, only for aarch64.* WrongArchitecture\]/);
    });
  });
});
