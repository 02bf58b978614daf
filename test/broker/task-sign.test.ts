import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { getStatus } from '../../shared/api/control-client.ts';
import type { BrokerStatus } from '../../shared/api/status.ts';
import { Kerb } from '../support/kerb/kerb.ts';

const top = join(import.meta.dirname, '../..');
let root: string;
let commands: Kerb;
let daemon: ChildProcess | undefined;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'kerb-sign-'));
  commands = new Kerb(root);
  await kerb('task', 'build', join(top, 'examples/tasks/echo'), '-o', 'packages/echo');
});
afterEach(async () => {
  if (daemon !== undefined && daemon.exitCode === null && daemon.signalCode === null) {
    daemon.kill('SIGKILL');
    await once(daemon, 'exit');
  }
});
afterAll(() => {
  commands.stop();
  rmSync(root, { recursive: true, force: true });
});

async function kerb(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const { code, out, err } = await commands.run(args);
  return { code, stdout: out, stderr: err };
}

async function serve(...args: string[]): Promise<BrokerStatus> {
  daemon = spawn(
    process.execPath,
    [
      ...[join(top, 'cli/kerb.ts'), 'broker', 'serve', '--id', 'rsu-1', '--listen', '127.0.0.1:0'],
      ...['--packages', 'packages', '--api', 'api.sock', ...args],
    ],
    { cwd: root, stdio: ['ignore', 'ignore', 'inherit'], env: { ...process.env, KERB_LOG: 'fatal' } },
  );
  return await vi.waitFor(() => getStatus<BrokerStatus>(join(root, 'api.sock')), { timeout: 20_000, interval: 100 });
}

test('a broker for development runs what was signed with the key for development, and nothing else', async () => {
  const before = await serve();
  expect(before.packages).toEqual([]);
  expect(before.rejected).toMatchObject([{ reason: expect.stringMatching(/is not signed; .* `kerb task sign`/) }]);
  daemon!.kill('SIGTERM');
  await once(daemon!, 'exit');
  const signed = await kerb('task', 'sign', 'packages/echo');
  expect(signed.stdout).toMatch(/^sha256:[0-9a-f]{64} signed with \.kerbside\/identity\/task-signer \(/);
  expect((await serve()).packages).toMatchObject([{ name: 'echo', tender: 'Waiting' }]);
});

test('a key of its own: made, used, shown, and trusted by name', async () => {
  const made = await kerb('pki', 'task-signer', 'acme', '--out', 'acme');
  expect(made.stdout).toContain('acme/public/acme.pem to the brokers');
  expect((await kerb('task', 'sign', 'packages/echo', '--key', 'acme', '--days', '10')).code).toBe(0);
  const unchecked = await kerb('task', 'inspect', 'packages/echo');
  expect(unchecked.stdout).toMatch(/^signed by {2}an unchecked key \([0-9a-f]{16}…\), until 20/m);
  const checked = await kerb('task', 'inspect', 'packages/echo', '--trust', 'acme/public');
  expect(checked.stdout).toMatch(/^signed by {2}acme \([0-9a-f]{16}…\), until 20/m);
  expect((await serve('--trust', 'acme/public')).packages).toMatchObject([{ name: 'echo' }]);

  await kerb('pki', 'task-signer', 'other', '--out', 'other');
  const foreign = await kerb('task', 'inspect', 'packages/echo', '--trust', 'other/public');
  expect(foreign.code).toBe(1);
  expect(foreign.stderr).toMatch(/not trusted here .* \[1017 TaskSignerUnknown\]/);
  expect((await kerb('task', 'sign', 'packages/echo', '--days', '0')).code).toBe(2);
});

test('a memory that is none is refused with an example', async () => {
  const ended = await kerb('broker', 'serve', '--id', 'x', '--packages', 'packages', '--tender-memory', 'much');
  expect(ended.code).not.toBe(0);
  expect(ended.stderr).toMatch(/--tender-memory.*write it like 512m or 1\.5g/);
});

test('with an identity of its own a broker has to be told whose tasks it runs', async () => {
  await kerb('pki', 'ca', 'create', '--out', 'ca');
  await kerb('pki', 'broker', 'rsu-1', '--ca', 'ca', '--out', 'broker');
  const args = ['broker', 'serve', '--id', 'rsu-1', '--packages', 'packages', '--identity', 'broker'];
  expect((await kerb(...args)).stderr).toMatch(/--trust or --allow-unsigned is required: .* \[1001 BadConfig\]/);
  expect((await kerb(...args, '--trust', 'broker', '--allow-unsigned')).stderr).toMatch(/contradict each other/);
  expect((await kerb(...args, '--trust', 'nowhere')).stderr).toMatch(/cannot read the trusted keys in nowhere/);
  await kerb('task', 'build', join(top, 'examples/tasks/echo'), '-o', 'packages/echo');
  expect((await serve('--identity', 'broker', '--allow-unsigned')).packages).toMatchObject([{ name: 'echo' }]);
});
