import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { ErrorCode } from '../../shared/base/errors.ts';
import { registerPolicyCommands } from './policy-commands.ts';

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'kerb-policy-cli-'));
  file = join(folder, 'policy.yaml');
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(folder, { recursive: true });
});

async function run(text: string, ...args: string[]): Promise<{ out: string; error?: unknown }> {
  writeFileSync(file, text);
  let out = '';
  const write = vi.spyOn(process.stdout, 'write').mockImplementation((chunk) => {
    out += String(chunk);
    return true;
  });
  const program = new Command().exitOverride();
  registerPolicyCommands(program);
  try {
    await program.parseAsync(['policy', 'check', file, ...args], { from: 'user' });
    return { out };
  } catch (error) {
    return { out, error };
  } finally {
    write.mockRestore();
  }
}

it('says that a good file is valid', async () => {
  const { out, error } = await run('others: refuse\ntenants: { ACME: {} }\n');
  expect(error).toBeUndefined();
  expect(out).toBe(`${file} is valid: 1 tenants, all others are refused\n`);
});

it('says all that is wrong, each with its line and key, and fails', async () => {
  const bad = 'others: maybe\ntenants:\n  ACME: { weight: 0 }\n';
  const { out, error } = await run(bad);
  expect(out.split('\n')).toEqual([
    expect.stringMatching(/policy\.yaml:1: others: must be/),
    expect.stringMatching(/policy\.yaml:3: tenants\.ACME\.weight: must be/),
    '',
  ]);
  expect(error).toMatchObject({ code: ErrorCode.BadPolicy, message: expect.stringContaining('2 problems') });
  const asJson = await run(bad, '-o', 'json');
  expect(JSON.parse(asJson.out)).toMatchObject({
    file,
    valid: false,
    problems: [
      { line: 1, key: 'others' },
      { line: 3, column: 11, key: 'tenants.ACME.weight' },
    ],
  });
  expect(asJson.error).toMatchObject({ code: ErrorCode.BadPolicy });
});

it('says what it comes to for one tenant', async () => {
  const text = 'default: { running: 2 }\ntenants: { ACME: { results: { keep: 2h }, shares: { run: [Other] } } }\n';
  const { out } = await run(text, '--tenant', 'ACME');
  expect(out).toMatch(/^running +2$/m);
  expect(out).toMatch(/^results\.keepMs +7200000$/m);
  expect(out).toMatch(/^cpu\.perMinuteMs +unlimited$/m);
  expect(out).toMatch(/^shares\.run +Other$/m);
  const asJson = JSON.parse((await run(text, '--tenant', 'Nobody', '-o', 'json')).out);
  expect(asJson).toMatchObject({ valid: true, tenant: { name: 'Nobody', served: true, may: { running: 2 } } });
  const refused = await run('others: refuse', '--tenant', 'Nobody');
  expect(refused.out).toMatch(/Nobody is not served/);
});

it('refuses a file that is not there, and a tenant that cannot be one', async () => {
  const program = new Command().exitOverride();
  registerPolicyCommands(program);
  const missing = program.parseAsync(['policy', 'check', join(folder, 'none')], { from: 'user' });
  await expect(missing).rejects.toMatchObject({ code: ErrorCode.BadPolicy });
  expect((await run('{}', '--tenant', 'a/b')).error).toMatchObject({ code: ErrorCode.BadIdentity });
});
