import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { ErrorCode } from '../../shared/base/errors.ts';
import { createAuthority, issueCertificate, type Subject } from '../../shared/identity/authority.ts';
import { writeIdentity } from '../../shared/identity/files.ts';
import { loadIdentity } from '../../shared/identity/x509-identity.ts';
import { kerbside } from '../../shared/protocol/generated/v2e.js';
import { readPackageFiles, readTaskPackage } from '../../shared/task-package/reader.ts';
import { signTaskPackage } from '../../shared/task-package/signature.ts';
import { createSigner } from '../../shared/task-package/signer.ts';
import { buildTaskPackage } from '../../shared/task-package/writer.ts';
import { DIGEST, FakeBroker } from '../../test/support/fake-broker.ts';
import { fakeImage } from '../../test/support/fake-image.ts';
import { createProgram } from '../program.ts';

const { SignedReceipt } = kerbside.v2e;
const features = ['keep', 'durable', 'receipt', 'describe'];
let root: string;
let serverOptions: () => object;
let broker: FakeBroker;
let out: Buffer[];
let err: string;

const tasks = ['1.0.0', '1.4.0', '2.0.0'].map((version, i) => {
  return { digest: `sha256:${String(i + 1).repeat(64)}`, name: 'echo', version, maxInput: 1000, maxOutput: 1000 };
});

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'kerb-offload-command-'));
  const authority = await createAuthority('Test CA');
  const identity = async (name: string, subject: Subject) => {
    const dir = join(root, name);
    await writeIdentity(dir, await issueCertificate(authority, subject), authority.certificate);
    return await loadIdentity(dir, subject.kind);
  };
  await identity('car', { kind: 'vehicle', id: 'car-1', tenant: 'ACME' });
  const own = await identity('broker', { kind: 'broker', id: 'rsu-1', hosts: [] });
  serverOptions = () => own.serverOptions();
  writeFileSync(join(root, 'input'), 'hello');
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

beforeEach(async () => {
  broker = await new FakeBroker({ serverOptions }).start();
  broker.hello = { version: 2, broker: 'rsu-1', tasks, maxInput: 1000, features };
  out = [];
  err = '';
  vi.spyOn(process.stdout, 'write').mockImplementation((chunk) => out.push(Buffer.from(chunk as string)) > 0);
  vi.spyOn(process.stderr, 'write').mockImplementation((chunk) => {
    err += String(chunk);
    return true;
  });
});
afterEach(async () => {
  vi.restoreAllMocks();
  process.exitCode = undefined;
  await broker.stop();
});

/** Runs `kerb offload`, as a program whose standard output is a pipe. */
async function kerbOffload(...args: string[]): Promise<string> {
  const program = await createProgram('offload');
  const identity = ['--broker', broker.url, '--identity', join(root, 'car')];
  await program.parseAsync(['offload', ...args, ...identity], { from: 'user' });
  return Buffer.concat(out).toString('latin1');
}
const path = (name: string) => join(root, name);

describe('one offload', () => {
  test('prints the output as it is, and a line about it on standard error', async () => {
    expect(await kerbOffload('echo', '--input', path('input'), '--id', 'rsu-1')).toBe('hello');
    expect(err).toMatch(
      /^echo 2\.0\.0 \(sha256:333333333333…\) at broker:rsu-1, isolation process: queue 1\.000 ms, .*total .* ms, 5 bytes\n$/,
    );
    expect(broker.received[0]).toMatchObject({ serviceClass: 3, priority: 500, keepMs: 0, wantReceipt: false });
  });

  test('terms, output, receipt and report go where they are to go', async () => {
    const receipt = { receipt: Buffer.from('r'), signature: Buffer.from('s'), certificate: Buffer.from('c') };
    await broker.stop();
    broker = new FakeBroker({
      serverOptions,
      onOffload: (wire, answer) => answer({ id: wire.id, result: { output: Buffer.of(0, 255), receipt, kept: true } }),
    });
    broker.hello = { version: 2, broker: 'rsu-1', tasks, maxInput: 1000, features };
    await broker.start();
    const terms = ['--class', 'high', '--keep', '30s', '--durable', '--isolation', 'vm', '--offload-id', 'mine'];
    const files = ['--receipt', path('receipt'), '--output', path('output'), '-o', 'json'];
    const shown = JSON.parse(await kerbOffload('echo@^1', ...terms, ...files));
    expect(shown).toMatchObject({
      id: 'mine',
      broker: 'rsu-1',
      kept: true,
      outputBytes: 2,
      task: { version: '1.4.0' },
    });
    expect(broker.received[0]).toMatchObject({
      id: 'mine',
      serviceClass: 2,
      keepMs: 30_000,
      durable: true,
      isolation: 'vm',
    });
    expect(broker.received[0]).toMatchObject({ wantReceipt: true, taskDigest: tasks[1]!.digest });
    expect([...readFileSync(path('output'))]).toEqual([0, 255]);
    expect(SignedReceipt.decode(readFileSync(path('receipt')))).toMatchObject({ signature: Buffer.from('s') });
  });

  test.each<[string, string[], ErrorCode, RegExp]>([
    [
      'a task that is not there',
      ['echo@^3'],
      ErrorCode.UnknownPackage,
      /rsu-1 offers no task echo@\^3; it offers echo@1\.0\.0, /,
    ],
    ['a digest that is not there', [DIGEST], ErrorCode.UnknownPackage, /offers no task sha256:aaaa/],
    ['no name', ['Echo Task'], ErrorCode.BadConfig, /"Echo Task" is not a valid task/],
    ['a range that is none', ['echo@^x'], ErrorCode.BadConfig, /is not a valid task/],
    [
      'an input that is not there',
      ['echo', '--input', 'nothing'],
      ErrorCode.BadConfig,
      /the input nothing cannot be read/,
    ],
    [
      'an input that is too large',
      ['echo', '--input', import.meta.filename],
      ErrorCode.InputTooLarge,
      /takes at most 1000/,
    ],
    ['an identity that is not there', ['echo', '--identity', 'nothing'], ErrorCode.BadIdentity, /nothing/],
    ['trust in nothing', ['echo', '--trust', 'nothing'], ErrorCode.BadIdentity, /nothing/],
    [
      'another broker',
      ['echo', '--id', 'rsu-2'],
      ErrorCode.NoBroker,
      /urn:kerbside:broker:rsu-1, not urn:kerbside:broker:rsu-2/,
    ],
  ])('%s is one clear error', async (_, args, code, message) => {
    const program = await createProgram('offload');
    const all = ['offload', '--broker', broker.url, '--identity', path('car'), ...args];
    await expect(program.parseAsync(all, { from: 'user' })).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
    expect(broker.received).toEqual([]);
  });

  test('no broker, and a refusal', async () => {
    const refusal = { code: ErrorCode.QueueFull, message: '256 wait' };
    broker.refuse = 'only vehicles are served here';
    await expect(kerbOffload('echo')).rejects.toMatchObject({
      code: ErrorCode.NoBroker,
      message: expect.stringMatching(/^no connection to a broker at https:.*: only vehicles are served here$/),
    });
    await broker.stop();
    broker = await new FakeBroker({ serverOptions, onOffload: ({ id }, answer) => answer({ id, refusal }) }).start();
    broker.hello = { version: 1, broker: 'rsu-1', tasks, maxInput: 1000 };
    await expect(kerbOffload('echo')).rejects.toThrow('broker rsu-1 refused the offload: 256 wait');
  });

  test('a feature that the broker has not is not left out without a word', async () => {
    broker.hello = { version: 1, broker: 'rsu-1', tasks, maxInput: 1000 };
    await expect(kerbOffload('echo', '--receipt', path('r'))).rejects.toMatchObject({ code: ErrorCode.NotSupported });
    await expect(kerbOffload('echo', '--keep', '1s')).rejects.toThrow('has no feature "keep"; leave out --keep');
    await createSigner(path('any-signer'), 'any');
    await expect(kerbOffload('echo', '--trust', path('any-signer/public'))).rejects.toThrow(
      'does not describe its tasks',
    );
    expect(broker.received).toEqual([]);
  });

  test('Ctrl-C cancels it', async () => {
    await broker.stop();
    const later = new FakeBroker({
      serverOptions,
      onOffload: () => process.emit('SIGINT'),
    });
    later.hello = broker.hello;
    broker = await later.start();
    await kerbOffload('echo', '--budget', '10s', '--offload-id', 'mine');
    expect(process.exitCode).toBe(130);
    expect(err).toBe('interrupted: there is no result\n');
    await vi.waitFor(() => expect(broker.cancelled).toEqual(['mine']));
  });
});

test('with trust, the task is the one that the signature says', async () => {
  const signer = await createSigner(path('signer'), 'maker');
  const dir = path('package');
  await buildTaskPackage(dir, { images: [fakeImage()], version: '1.4.0', isolation: 'any' });
  await signTaskPackage(await readTaskPackage(dir), signer);
  const found = await readTaskPackage(dir);
  const files = (await readPackageFiles(found)).map(({ path, bytes }) => ({ path, content: bytes }));
  const queries: object[] = [];
  broker.onDescribe = (query) => {
    queries.push(query);
    return { task: { digest: found.digest, files } };
  };
  expect(await kerbOffload('echo@^1', '-i', path('input'), '--trust', path('signer/public'))).toBe('hello');
  expect(err).toMatch(/^echo 1\.4\.0 \(sha256:.*, signed by maker\) at/);
  expect(broker.received[0]).toMatchObject({ taskDigest: found.digest });
  expect(queries).toEqual([expect.objectContaining({ name: 'echo', range: '^1' })]);
  // The announcement says 2.0.0, and the description is of something else.
  await expect(kerbOffload('echo@2.0.0', '--trust', path('signer/public'))).rejects.toMatchObject({
    code: ErrorCode.BadTaskPackage,
  });
  broker.onDescribe = () => ({ refusal: { code: ErrorCode.TaskForbidden, message: 'not for you' } });
  await expect(kerbOffload('echo', '--trust', path('signer/public'))).rejects.toMatchObject({
    code: ErrorCode.TaskForbidden,
    message: 'broker rsu-1: not for you',
  });
});

describe('many offloads', () => {
  test('are a table, on several connections', async () => {
    const load = ['-n', '20', '--concurrency', '4', '--connections', '2'];
    const shown = await kerbOffload('echo', '--input', path('input'), ...load);
    expect(shown).toMatch(/^echo 2\.0\.0 .* at broker rsu-1, 5 bytes of input, budget 500 ms\nsent {6}20 in /);
    expect(shown).toMatch(/^answered {2}20 within the budget \(100\.0 %\)/m);
    expect(shown).toMatch(/^total +\d/m);
    expect(new Set(broker.received.map(({ id }) => id)).size).toBe(20);
    expect(process.exitCode).toBeUndefined();
  });

  test('are JSON, and a failure when none was answered', async () => {
    await broker.stop();
    const refusal = { code: ErrorCode.DeadlineUnreachable, message: 'too late' };
    broker = new FakeBroker({ serverOptions, onOffload: ({ id }, answer) => answer({ id, refusal }) });
    broker.hello = { version: 2, broker: 'rsu-1', tasks, maxInput: 1000 };
    await broker.start();
    const shown = JSON.parse(await kerbOffload('echo', '-n', '5', '--rate', '500', '-o', 'json'));
    expect(shown).toMatchObject({ sent: 5, answered: 0, connections: 1, interrupted: false });
    expect(shown.refusals).toEqual([
      expect.objectContaining({ reason: 'deadline_unreachable', count: 5, message: expect.stringMatching(/too late/) }),
    ]);
    expect(process.exitCode).toBe(1);
  });

  test('Ctrl-C prints what there is', async () => {
    await broker.stop();
    broker = new FakeBroker({
      serverOptions,
      onOffload: ({ id }, answer) => {
        // The third is sent when two have been answered.
        if (broker.received.length === 3) process.emit('SIGINT');
        else answer({ id, result: {} });
      },
    });
    broker.hello = { version: 2, broker: 'rsu-1', tasks, maxInput: 1000 };
    await broker.start();
    const shown = JSON.parse(await kerbOffload('echo', '--duration', '60s', '--budget', '60s', '-o', 'json'));
    expect(shown).toMatchObject({ interrupted: true, answered: 2, refusals: [] });
    expect(process.exitCode).toBe(130);
  });
});

test.each([
  ['-n', '0'],
  ['--rate', '-1'],
  ['--rate', '1e9'],
  ['--connections', '5000'],
  ['--budget', '2h'],
  ['--budget', '0s'],
  ['--keep', '48h'],
  ['--class', 'urgent'],
  ['--isolation', 'none'],
  ['--offload-id', 'a b'],
  ['--rate', '5', '--concurrency', '5'],
  ['-n', '5', '--output', 'x'],
  ['--receipt', '-', '--output', 'x'],
  ['--durable'],
  ['-o', 'yaml'],
  ['--broker', 'http://127.0.0.1:1'],
])('%s %s is wrong usage', async (...args) => {
  await expect(kerbOffload('echo', ...args)).rejects.toMatchObject({ name: 'CommanderError' });
  expect(broker.received).toEqual([]);
});
