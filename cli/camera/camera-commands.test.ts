import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type ControlServer, createControlServer } from '../../shared/api/control-server.ts';
import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import { silentLog } from '../../shared/base/log.ts';
import { registerCameraCommands } from './camera-commands.ts';

let folder: string;
let server: ControlServer;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kerb-camera-cli-'));
  server = createControlServer({
    socketPath: join(folder, 'api.sock'),
    routes: {
      'GET /v1/cameras/:name/snapshot': ({ params }) => {
        if (params.name === 'front') return { type: 'image/jpeg', body: Buffer.from([0xff, 0xd8]) };
        throw new KerbError(ErrorCode.UnknownCamera, `this OBU has no camera "${params.name}"; it has front`);
      },
    },
    log: silentLog(),
  });
  await server.start();
});
afterEach(async () => {
  await server.stop();
  await rm(folder, { recursive: true });
});

function snapshot(camera: string, output: string): Promise<unknown> {
  const program = new Command().exitOverride();
  registerCameraCommands(program);
  return program.parseAsync(['camera', 'snapshot', camera, '-o', output, '--api', join(folder, 'api.sock')], {
    from: 'user',
  });
}

it('writes the picture to the file', async () => {
  await snapshot('front', join(folder, 'now.jpg'));
  expect(await readFile(join(folder, 'now.jpg'))).toEqual(Buffer.from([0xff, 0xd8]));
});

it('passes on why there is none, and leaves the file that was there alone', async () => {
  await writeFile(join(folder, 'now.jpg'), 'old');
  await expect(snapshot('re/ar', join(folder, 'now.jpg'))).rejects.toMatchObject({
    code: ErrorCode.UnknownCamera,
    message: 'this OBU has no camera "re/ar"; it has front',
  });
  expect(await readFile(join(folder, 'now.jpg'), 'utf8')).toBe('old');
});

it('says that a file cannot be written, and leaves no part of it', async () => {
  await expect(snapshot('front', join(folder, 'no', 'now.jpg'))).rejects.toThrow(/now\.jpg cannot be written: ENOENT/);
  expect(await readdir(folder)).toEqual(['api.sock']);
});
