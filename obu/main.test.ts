import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { createControlServer } from '../shared/api/control-server.ts';
import { ErrorCode } from '../shared/base/errors.ts';
import { silentLog } from '../shared/base/log.ts';
import { parseObuConfig } from './config/config.ts';
import { stateLayout } from './config/state-layout.ts';
import { startObu } from './main.ts';

const log = silentLog();
const config = parseObuConfig('{ vehicle: car, obu: obu-1 }', 'obu.yaml');
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kerb-main-'));
  vi.stubEnv('XDG_RUNTIME_DIR', folder);
  // A start that gets as far as the engine fails with another error than the ones expected here.
  vi.stubEnv('DOCKER_HOST', `unix://${folder}/no-engine.sock`);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true });
});

it('finds out that its control socket is taken before it touches the engine, and leaves nothing', async () => {
  const api = join(folder, 'api.sock');
  const other = createControlServer({ socketPath: api, routes: {}, log });
  await other.start();
  try {
    const state = join(folder, 'state');
    await expect(startObu({ config, state, api, log })).rejects.toMatchObject({
      code: ErrorCode.ApiUnavailable,
      message: expect.stringContaining(api),
    });
    expect(await readdir(state)).toEqual([]);
    await expect(readdir(stateLayout(state).runtime)).rejects.toThrow(/ENOENT/);
  } finally {
    await other.stop();
  }
});

it('names the folder that cannot be made', async () => {
  const file = join(folder, 'file');
  await writeFile(file, '');
  const state = join(file, 'state');
  await expect(startObu({ config, state, api: join(folder, 'a'), log })).rejects.toMatchObject({
    code: ErrorCode.BadConfig,
    message: expect.stringContaining(`folder ${state} cannot be made: ENOTDIR`),
  });
});
