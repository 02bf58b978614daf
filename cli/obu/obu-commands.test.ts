import { spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { jsonReply } from '../../shared/api/control-routes.ts';
import { createControlServer } from '../../shared/api/control-server.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import { silentLog } from '../../shared/base/log.ts';
import { registerObuCommands } from './obu-commands.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kerb-obu-cli-'));
});
afterEach(() => rm(folder, { recursive: true }));

function status(api: string): Promise<unknown> {
  const program = new Command().exitOverride();
  registerObuCommands(program);
  return program.parseAsync(['status', '--api', api], { from: 'user' });
}

it('status says what to do where no OBU runs', async () => {
  const api = join(folder, 'none.sock');
  await expect(status(api)).rejects.toMatchObject({
    code: ErrorCode.ApiUnavailable,
    message: `no OBU runs at ${api} (ENOENT); start one with kerb obu serve, or name its socket with --api: npm start has it at .kerbside/run/obu.sock`,
  });
});

it('status does not say so of an OBU that answers something else', async () => {
  const socketPath = join(folder, 'api.sock');
  const server = createControlServer({ socketPath, routes: {}, log: silentLog() });
  await server.start();
  try {
    await expect(status(socketPath)).rejects.toMatchObject({
      code: ErrorCode.ApiUnavailable,
      message: expect.stringMatching(/was answered with 404/),
    });
  } finally {
    await server.stop();
  }
});

it.each([
  ['status', ['status']],
  ['a route that only OBUs have', ['obu', 'get', 'grants']],
  ['a stream that only OBUs have', ['logs', 'a']],
])('%s of a broker says which verbs to use', async (_what, verb) => {
  const socketPath = join(folder, 'broker.sock');
  const routes = { 'GET /v1/status': () => jsonReply({ broker: 'rsu-1', packages: [] }) };
  const server = createControlServer({ socketPath, routes, log: silentLog() });
  await server.start();
  try {
    const program = new Command().exitOverride();
    registerObuCommands(program);
    await expect(program.parseAsync([...verb, '--api', socketPath], { from: 'user' })).rejects.toMatchObject({
      code: ErrorCode.ApiUnavailable,
      message: `${socketPath} is of broker rsu-1, not of an OBU; use kerb broker status, kerb broker top or kerb broker get with it`,
    });
  } finally {
    await server.stop();
  }
});

it('serve holds the manifest against the mapping files of the configuration', async () => {
  const mapping = 'Vehicle.Speed: { datatype: float, dbc2vss: { signal: S } }';
  const config = 'vehicle: car\nobu: obu-1\nsignals: { mapping: [car.vss.yaml] }';
  const manifest = 'services:\n  a:\n    image: x\n    x-obu: { grants: { signals: ["read:Vehicle.Speeed"] } }';
  const files = { 'car.vss.yaml': mapping, 'obu.yaml': config, 'car.compose.yaml': manifest };
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
  const kerb = join(import.meta.dirname, '../kerb.ts');
  const named = ['--config', 'obu.yaml', '--manifest', 'car.compose.yaml', '--state', 'state', '--api', 'api.sock'];
  const { status, stderr } = spawnSync(process.execPath, [kerb, 'obu', 'serve', ...named], {
    cwd: folder,
    encoding: 'utf8',
  });
  expect(stderr).toMatch(
    /car\.compose\.yaml:4: services\.a\.x-obu\.grants\.signals\[0\]: .*did you mean "Vehicle\.Speed"\?/,
  );
  expect(status).toBe(1);
});
