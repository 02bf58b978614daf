import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { guestImage, taskImage } from './support-paths.ts';

const top = join(import.meta.dirname, '../..');
let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'kerb-task-run-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

function kerb(args: string[], input = ''): { code: number | null; stdout: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(top, 'cli/kerb.ts'), 'task', ...args], {
    input,
    encoding: 'utf8',
    cwd: root,
  });
  return { code: status, stdout, stderr };
}

const report =
  /^status 0, isolation (?:vm|process), ran \d+\.\d{3} ms \(processor \d+\.\d{3} ms\), \d+ KiB of memory used, (\d+) bytes of output\n$/;

describe('kerb task run', () => {
  test('an image, a package and a folder give the same', () => {
    const echo = join(top, 'examples/tasks/echo');
    expect(kerb(['build', echo, '-o', join(root, 'echo')]).code).toBe(0);
    for (const task of [taskImage('echo'), join(root, 'echo'), echo]) {
      const { code, stdout, stderr } = kerb(['run', task, '--input', '-'], 'a road');
      expect(stderr).toMatch(report);
      expect(stdout).toBe('a road');
      expect(code).toBe(0);
    }
  });

  test('takes its input from a file and writes its output to one', () => {
    writeFileSync(join(root, 'input'), 'from a file');
    const { stdout, stderr } = kerb(['run', taskImage('echo'), '--input', 'input', '--output', 'output']);
    expect(stdout).toBe('');
    expect(report.exec(stderr)?.[1]).toBe('11');
    expect(readFileSync(join(root, 'output'), 'utf8')).toBe('from a file');
  });

  test('prints the log, of a call that failed too', () => {
    const good = kerb(['run', guestImage('hello'), '--input', '-'], 'x');
    expect(good.stdout).toBe('hello, x');
    expect(good.stderr).toMatch(/^greeted 1 bytes\n.*\nstatus 0/);
    const bad = kerb(['run', guestImage('loop'), '--budget', '30ms']);
    expect(bad.code).toBe(1);
    expect(bad.stderr).toMatch(
      /^looping\nkerb: loop was ended because its budget was spent.* \[8006 GuestDeadline\]\n$/,
    );
  });

  test.each([
    ['null', /null pointer.* \[8004 GuestFault\]/],
    ['bad-status', /status.* \[8008 GuestBadOutput\]/],
  ])('guest %s ends with its own code', (guest, message) => {
    const { code, stdout, stderr } = kerb(['run', guestImage(guest)]);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(message);
  });

  test('a task that refuses its input says so', () => {
    const { code, stderr } = kerb(['run', taskImage('aggregate')]);
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /aggregate refused its input with status 1 .*: there are no values \[7008 TaskRefusedInput\]/,
    );
  });

  test('what cannot be run is named', () => {
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
      const result = kerb([...args]);
      expect(result.stderr).toMatch(message);
      expect(result.code).toBe(code);
    }
    expect(kerb(['run', taskImage('crypt'), '--input', '-'], 'x'.repeat(5 << 20)).stderr).toMatch(
      /takes at most 4259840 \[8007 TenderInputTooLarge\]/,
    );
  });

  test('leaves nothing behind', () => {
    const before = readdirSync(tmpdir()).filter((name) => name.startsWith('kerb-run-'));
    kerb(['run', taskImage('echo')]);
    kerb(['run', 'nowhere']);
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

  test('keeps to the isolation that a package demands', () => {
    kerb(['new', 'demanding']);
    writeFileSync(join(root, 'demanding/task.yaml'), 'version: 1.0.0\nisolation: process\n');
    kerb(['build', 'demanding', '-o', 'demanding-package']);
    for (const task of ['demanding', 'demanding-package']) {
      expect(kerb(['run', task]).stderr).toMatch(/^status 0, isolation process, /);
      const other = kerb(['run', task, '--isolation', 'vm']);
      expect(other.stderr).toMatch(
        /demanding 1\.0\.0 demands isolation process, and vm was asked for; .* \[8\d+ Tender/,
      );
      expect(other.code).toBe(1);
    }
  });
});

describe('kerb task new', () => {
  test.each(['c', 'ts'])('makes a task in %s that runs at once', (language) => {
    const name = `turn-${language}`;
    const made = kerb(['new', name, '--lang', language]);
    expect(made.stdout).toContain(`kerb task run ${name}`);
    const { code, stdout, stderr } = kerb(['run', name, '--input', '-'], 'hello');
    expect(stderr).toMatch(report);
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'olleh' });
  });

  test('replaces nothing, and refuses names that are none', () => {
    kerb(['new', 'mine']);
    const source = readFileSync(join(root, 'mine/mine.c'), 'utf8');
    writeFileSync(join(root, 'mine/mine.c'), `${source}/* changed */`);
    expect(kerb(['new', 'mine']).stderr).toMatch(/mine is there already.* \[1001 BadConfig\]/);
    expect(readFileSync(join(root, 'mine/mine.c'), 'utf8')).toContain('changed');
    expect(kerb(['new', 'No_Name']).stderr).toMatch(/'No_Name' is not a valid name for a task/);
    expect(kerb(['new', 'sub/deep']).stderr).toMatch(/sub\/deep cannot be made/);
    expect(existsSync(join(root, 'No_Name'))).toBe(false);
    expect(kerb(['new', 'other', '--lang', 'cobol']).code).toBe(2);
  });
});
