import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { callControl } from '../../shared/api/control-client.ts';
import { type ControlServer, createControlServer } from '../../shared/api/control-server.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import { silentLog } from '../../shared/base/log.ts';
import type { Engine } from '../engine/docker-client.ts';
import type { Desired, Plan } from '../planner/state.ts';
import { DesiredState } from '../state/desired-state.ts';
import { manifestRoutes } from './manifest-routes.ts';

let folder: string;
let socket: string;
let server: ControlServer;
let desired: DesiredState;
let previewed: readonly Desired[];
/** What the engine has: image name → architecture. */
let architectures: ReadonlyMap<string, string>;
const engine = {
  host: 'tcp://elsewhere',
  calls: {
    version: async () => ({ Arch: 'amd64' }),
    getImage: (name: string) => ({
      inspect: async () => {
        const Architecture = architectures.get(name);
        if (Architecture === undefined) throw Object.assign(new Error('no such image'), { statusCode: 404 });
        return { Id: `sha256:${name}`, Architecture };
      },
    }),
  },
} as unknown as Engine;
const text = 'services: { a: { image: "a:1" } }';

beforeEach(async () => {
  architectures = new Map();
  folder = mkdtempSync(join(tmpdir(), 'kerb-routes-'));
  socket = join(folder, 's');
  desired = new DesiredState({
    database: join(folder, 'obu.db'),
    offers: { buses: [], cameras: [], tasks: [], signals: [] },
    report: () => {},
    log: silentLog(),
    nowMs: () => 0,
  });
  desired.start({ file: 'car.yaml', text });
  const planNow = async (wanted: readonly Desired[]): Promise<Plan> => {
    previewed = wanted;
    const why = 'image b:latest is not there';
    return {
      steps: [
        {
          step: 'create-and-start',
          version: { ...wanted[0]!, imageId: 'sha256:1' },
          gateway: 'a',
          why: 'the manifest names it',
        },
        { step: 'refuse-missing-image', workload: 'b', image: 'b:latest', why },
      ],
      states: new Map([
        ['a', { state: 'Pending', detail: 'Starting', reason: 'the manifest names it' }],
        ['b', { state: 'Failed', detail: 'ImageMissing', reason: why }],
        ['c', { state: 'Pending', detail: 'NoCapacity', reason: 'it needs 8192 MiB' }],
        ['d', { state: 'Running', detail: 'Ok', reason: 'its container runs' }],
      ]),
      ready: [],
      records: new Map(),
      used: { memory: 0, cpus: 0 },
    };
  };
  const routes = manifestRoutes(() => ({ desired, reconciler: { planNow }, engine }));
  server = createControlServer({ socketPath: socket, routes, log: silentLog() });
  await server.start();
});
afterEach(async () => {
  await server.stop();
  desired.stop();
  rmSync(folder, { recursive: true });
});

async function call(method: 'GET' | 'POST', path: string, body?: string | Uint8Array): Promise<unknown> {
  return JSON.parse((await callControl(socket, path, { method, body })).toString());
}

it('the manifest of now, and one of before', async () => {
  const first = { generation: 1, file: 'car.yaml', appliedAt: '1970-01-01T00:00:00.000Z', good: false };
  expect(await call('GET', '/v1/manifest')).toEqual({ ...first, text, generations: [first] });
  await call('POST', '/v1/manifest?file=two.yaml', 'services: { b: { image: b } }');
  expect(await call('GET', '/v1/manifest')).toMatchObject({ generation: 2, file: 'two.yaml' });
  expect(await call('GET', '/v1/manifest?generation=1')).toMatchObject({ generation: 1, text });
  await expect(call('GET', '/v1/manifest?generation=9')).rejects.toMatchObject({ code: ErrorCode.UnknownManifest });
  for (const bad of ['0', '-1', 'x', '1e3', '']) {
    await expect(call('GET', `/v1/manifest?generation=${bad}`)).rejects.toMatchObject({
      code: ErrorCode.BadControlRequest,
    });
  }
});

it('applies a manifest, and passes its problems on', async () => {
  expect(await call('POST', '/v1/manifest?file=x.yaml', 'services: { a: { image: "a:2" } }')).toEqual({
    generation: 2,
    file: 'x.yaml',
    changes: [{ workload: 'a', change: 'replaced' }],
  });
  await expect(call('POST', '/v1/manifest?file=x.yaml', 'services: { a: { imagee: b } }')).rejects.toMatchObject({
    code: ErrorCode.BadManifest,
    context: { problems: [{ file: 'x.yaml', line: 1 }, { key: 'services.a.imagee' }] },
  });
  await expect(call('POST', '/v1/manifest')).rejects.toMatchObject({ code: ErrorCode.BadControlRequest });
  await expect(call('POST', '/v1/manifest', Uint8Array.of(0xc3, 0x28))).rejects.toThrow(/manifest:1: .*UTF-8/);
  expect(desired.manifest().generation).toBe(2);
});

it('says what a manifest would do, and does nothing', async () => {
  const reply = await call('POST', '/v1/manifest?file=x.yaml&dryRun=1', 'services: { a: { image: "a:2" } }');
  expect(reply).toEqual({
    changes: [{ workload: 'a', change: 'replaced' }],
    steps: [{ step: 'create-and-start', workload: 'a', why: 'the manifest names it' }],
    waiting: [
      { workload: 'b', state: 'Failed', detail: 'ImageMissing', reason: 'image b:latest is not there' },
      { workload: 'c', state: 'Pending', detail: 'NoCapacity', reason: 'it needs 8192 MiB' },
    ],
  });
  expect(previewed.map(({ workload }) => workload.image)).toEqual(['a:2']);
  expect(desired.manifest().generation).toBe(1);
});

it('refuses images that the machine cannot run, dry or not, unless they are about to be replaced', async () => {
  architectures = new Map([
    ['a:2', 'arm64'],
    ['old:1', '386'],
    ['plain:1', ''],
  ]);
  const wrong =
    'services: { a: { image: "a:2" }, b: { image: "old:1" }, c: { image: "plain:1" }, d: { image: "absent:1" } }';
  for (const query of ['file=x.yaml', 'file=x.yaml&dryRun=1', 'file=x.yaml&dryRun=1&loads=old:1']) {
    await expect(call('POST', `/v1/manifest?${query}`, wrong)).rejects.toMatchObject({
      code: ErrorCode.WrongArchitecture,
      context: { faults: [expect.stringMatching(/^workload a: image a:2 is for arm64, and this machine is amd64/)] },
    });
  }
  expect(desired.manifest().generation).toBe(1);
  await call('POST', '/v1/manifest?file=x.yaml&dryRun=1&loads=old:1,a:2', wrong);
  architectures = new Map([['a:2', 'amd64']]);
  await call('POST', '/v1/manifest?file=x.yaml', wrong);
  expect(desired.manifest().generation).toBe(2);
});

it('goes back, or says why not', async () => {
  await expect(call('POST', '/v1/rollback')).rejects.toMatchObject({ code: ErrorCode.NothingToRollBack });
  desired.store.markGood(1);
  desired.apply({ file: 'two.yaml', text: 'services: { a: { image: "a:2" } }' });
  await expect(call('POST', '/v1/rollback?workload=b')).rejects.toMatchObject({ code: ErrorCode.UnknownWorkload });
  expect(await call('POST', '/v1/rollback?workload=a')).toMatchObject({ generation: 3, file: 'two.yaml' });
  expect(desired.wanted[0]!.workload.image).toBe('a:1');
});
