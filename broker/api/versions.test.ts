import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, test, vi } from 'vitest';
import type { VersionFloor } from '../../shared/api/broker.ts';
import { type ControlTarget, callControl, getControl } from '../../shared/api/control-client.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import { loadIdentity } from '../../shared/identity/x509-identity.ts';
import { BrokerScene } from '../../test/support/broker/broker-scene.ts';

const scene = new BrokerScene();
afterAll(() => scene.remove());
afterEach(() => scene.stop());

const floorsOf = async (api: ControlTarget) => JSON.parse(await getControl(api, '/v1/versions')) as VersionFloor[];
const reset = async (api: ControlTarget, body: unknown) =>
  JSON.parse(
    (
      await callControl(api, '/v1/versions', {
        method: 'POST',
        body: typeof body === 'string' ? body : JSON.stringify(body),
      })
    ).toString(),
  ) as unknown;

test('an operator sets lowest versions over TLS: packages follow at once, the disk and the audit log have it', async () => {
  const [policyFile, file] = [join(scene.root, 'policy.yaml'), join(scene.root, 'audit.jsonl')];
  writeFileSync(policyFile, 'versions: forward\noperators: [alice]\n');
  const remote = { listen: { host: '127.0.0.1', port: 0 }, operators: [] };
  const stateDir = join(scene.root, 'state');
  const audit = { file, maxBytes: 1e6, keep: 1, hashInputs: false };
  const { broker } = await scene.start({ policyFile, api: remote, audit, stateDir });
  await vi.waitUntil(() => broker.apiPort() !== undefined, 10_000);
  const as = async (id: string) => {
    const identity = await loadIdentity(await scene.identityDir({ kind: 'operator', id }), 'operator');
    return { url: new URL(`https://127.0.0.1:${broker.apiPort()}`), tls: identity.clientOptions('rsu-1', 'broker') };
  };
  const [alice, bob] = [await as('alice'), await as('bob')];
  await broker.reload();
  expect(await floorsOf(alice)).toEqual([{ tenant: '', task: 'echo', version: '1' }]);
  await expect(reset(bob, { task: 'echo', to: '2' })).rejects.toMatchObject({ code: ErrorCode.ApiForbidden });
  expect(await reset(alice, { task: 'echo', to: '2' })).toEqual({
    task: 'echo',
    changed: [{ tenant: '', from: '1', to: '2' }],
  });
  expect(broker.status()).toMatchObject({
    packages: [],
    rejected: [{ reason: expect.stringContaining('older than 2') }],
  });
  expect(readFileSync(join(stateDir, 'task-versions.json'), 'utf8')).toContain('"version":"2"');
  expect(await reset(alice, { task: 'echo', tenant: '', to: null })).toMatchObject({ changed: [{ from: '2' }] });
  expect(broker.status()).toMatchObject({ packages: [{ name: 'echo' }], rejected: [] });
  await broker.stop();
  const lines = readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as object);
  expect(lines).toContainEqual(
    expect.objectContaining({ event: 'versions', by: 'operator alice', task: 'echo', version: '2' }),
  );
});

describe('a request that is not valid changes nothing', () => {
  test('and says what it must be', async () => {
    const { api } = await scene.start();
    expect(await floorsOf(api)).toEqual([]);
    const bad: unknown[] = [
      ...['', '[]', '{"task":', 'null', {}, { task: 'echo' }, { task: 'Echo!', to: '1' }, { task: 'echo', to: '../1' }],
      ...[
        { task: 'echo', to: 1 },
        { task: 'echo', to: '' },
        { task: 'echo', to: '1', tenant: 'a\nb' },
      ],
      { task: 'echo', to: '1', force: true },
    ];
    for (const body of bad) {
      await expect(reset(api, body), JSON.stringify(body)).rejects.toMatchObject({
        code: ErrorCode.BadControlRequest,
        message: expect.stringContaining('it must be { "task": "NAME", "to": "VERSION" or null }'),
      });
    }
    await expect(reset(api, { task: 'echo', to: '1', tenant: 'ACME' })).rejects.toMatchObject({
      code: ErrorCode.BadControlRequest,
      message: expect.stringContaining('no version of a task echo of tenant ACME is remembered'),
    });
  });
});
