import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { Kerb } from '../support/kerb/kerb.ts';
import { rows } from '../support/rounds.ts';
import { guestImage, taskImage } from './support-paths.ts';

const top = join(import.meta.dirname, '../..');
let root: string;
let commands: Kerb;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'kerb-task-run-'));
  commands = new Kerb(root);
});
afterAll(() => {
  commands.stop();
  rmSync(root, { recursive: true, force: true });
});

async function kerb(args: string[], input = ''): Promise<{ code: number; stdout: string; stderr: string }> {
  const { code, out, err } = await commands.run(['task', ...args], input);
  return { code, stdout: out, stderr: err };
}

const report =
  /^status 0, isolation (?:vm|process), ran \d+\.\d{3} ms \(processor \d+\.\d{3} ms\), \d+ KiB of memory used, (\d+) bytes of output\n$/;

describe('kerb task run', () => {
  test('an image, a package and a folder give the same', async () => {
    const echo = join(top, 'examples/tasks/echo');
    expect((await kerb(['build', echo, '-o', join(root, 'echo')])).code).toBe(0);
    for (const task of [taskImage('echo'), join(root, 'echo'), echo]) {
      const { code, stdout, stderr } = await kerb(['run', task, '--input', '-'], 'a road');
      expect(stderr).toMatch(report);
      expect(stdout).toBe('a road');
      expect(code).toBe(0);
    }
  });

  test('takes its input from a file and writes its output to one', async () => {
    writeFileSync(join(root, 'input'), 'from a file');
    const { stdout, stderr } = await kerb(['run', taskImage('echo'), '--input', 'input', '--output', 'output']);
    expect(stdout).toBe('');
    expect(report.exec(stderr)?.[1]).toBe('11');
    expect(readFileSync(join(root, 'output'), 'utf8')).toBe('from a file');
  });

  test('prints the log, of a call that failed too', async () => {
    const good = await kerb(['run', guestImage('hello'), '--input', '-'], 'x');
    expect(good.stdout).toBe('hello, x');
    expect(good.stderr).toMatch(/^greeted 1 bytes\n.*\nstatus 0/);
    const bad = await kerb(['run', guestImage('loop'), '--budget', '30ms']);
    expect(bad.code).toBe(1);
    expect(bad.stderr).toMatch(
      /^looping\nkerb: loop was ended because its budget was spent.* \[8006 GuestDeadline\]\n$/,
    );
  });

  test.each([
    ['null', /null pointer.* \[8004 GuestFault\]/],
    ['bad-status', /status.* \[8008 GuestBadOutput\]/],
  ])('guest %s ends with its own code', async (guest, message) => {
    const { code, stdout, stderr } = await kerb(['run', guestImage(guest)]);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(message);
  });

  test('a task that refuses its input says so', async () => {
    const { code, stderr } = await kerb(['run', taskImage('aggregate')]);
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /aggregate refused its input with status 1 .*: there are no values \[7008 TaskRefusedInput\]/,
    );
  });

  test('what cannot be run is named', async () => {
    writeFileSync(join(root, 'text'), 'no image');
    for (const [args, code, message] of [
      [['run', 'nowhere'], 1, /nowhere does not exist; .* \[1009 BadTaskPackage\]/],
      [['run', 'text'], 1, /text is refused: .* \[8001 ImageRefused\]/],
      [
        ['run', taskImage('echo'), '--input', 'nothing'],
        1,
        /the input nothing cannot be read: no such file .*\[1001 BadConfig\]/,
      ],
      [['run', taskImage('echo'), '--output', 'none/out'], 1, /cannot write the output to none\/out/],
      [['run', taskImage('echo'), '--budget', 'soon'], 2, /'soon' is not a valid duration/],
      [['run', taskImage('echo'), '--budget', '0ms'], 2, /longer than nothing/],
    ] as const) {
      const result = await kerb([...args]);
      expect(result.stderr).toMatch(message);
      expect(result.code).toBe(code);
    }
    expect((await kerb(['run', taskImage('crypt'), '--input', '-'], 'x'.repeat(5 << 20))).stderr).toMatch(
      /takes at most 4259840 \[8007 TenderInputTooLarge\]/,
    );
  });

  test('leaves nothing behind', async () => {
    const before = readdirSync(tmpdir()).filter((name) => name.startsWith('kerb-run-'));
    await kerb(['run', taskImage('echo')]);
    await kerb(['run', 'nowhere']);
    expect(readdirSync(tmpdir()).filter((name) => name.startsWith('kerb-run-'))).toEqual(before);
  });

  test('leaves nothing behind when it is interrupted', async () => {
    const temporary = join(root, 'temporary');
    mkdirSync(temporary);
    const child = spawn(
      process.execPath,
      [join(top, 'cli/kerb.ts'), 'task', 'run', guestImage('loop'), '--budget', '10m'],
      { stdio: 'ignore', env: { ...process.env, TMPDIR: temporary } },
    );
    const ended = once(child, 'exit');
    await vi.waitFor(() => expect(readdirSync(temporary)).not.toEqual([]), { timeout: 20_000, interval: 20 });
    child.kill('SIGINT');
    expect(await ended).toEqual([null, 'SIGINT']);
    expect(readdirSync(temporary)).toEqual([]);
  });

  test('keeps to the isolation that a package demands', async () => {
    await kerb(['new', 'demanding']);
    writeFileSync(join(root, 'demanding/task.yaml'), 'version: 1.0.0\nisolation: process\n');
    await kerb(['build', 'demanding', '-o', 'demanding-package']);
    for (const task of ['demanding', 'demanding-package']) {
      expect((await kerb(['run', task])).stderr).toMatch(/^status 0, isolation process, /);
      const other = await kerb(['run', task, '--isolation', 'vm']);
      expect(other.stderr).toMatch(
        /demanding 1\.0\.0 demands isolation process, and vm was asked for; .* \[8\d+ Tender/,
      );
      expect(other.code).toBe(1);
    }
  });
});

describe('kerb task new', () => {
  test.each(rows(1, ['c', 'ts']))('makes a task in %s that runs at once', async (language) => {
    const name = `turn-${language}`;
    const made = await kerb(['new', name, '--lang', language]);
    expect(made.stdout).toContain(`kerb task run ${name}`);
    const { code, stdout, stderr } = await kerb(['run', name, '--input', '-'], 'hello');
    expect(stderr).toMatch(report);
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'olleh' });
  });

  test('replaces nothing, and refuses names that are none', async () => {
    await kerb(['new', 'mine']);
    const source = readFileSync(join(root, 'mine/mine.c'), 'utf8');
    writeFileSync(join(root, 'mine/mine.c'), `${source}/* changed */`);
    expect((await kerb(['new', 'mine'])).stderr).toMatch(/mine is there already.* \[1001 BadConfig\]/);
    expect(readFileSync(join(root, 'mine/mine.c'), 'utf8')).toContain('changed');
    expect((await kerb(['new', 'No_Name'])).stderr).toMatch(/'No_Name' is not a valid name for a task/);
    expect((await kerb(['new', 'sub/deep'])).stderr).toMatch(/sub\/deep cannot be made/);
    expect(existsSync(join(root, 'No_Name'))).toBe(false);
    expect((await kerb(['new', 'other', '--lang', 'cobol'])).code).toBe(2);
  });
});
