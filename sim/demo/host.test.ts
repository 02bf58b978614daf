import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { answers, freePort, makeSocketFolder, takeLock } from './host.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'kerb-host-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('takeLock', () => {
  it.each(['999999999', 'nonsense', '', '-1'])('takes over what one that is gone left (%j)', (left) => {
    writeFileSync(join(folder, 'drive.pid'), left);
    const file = takeLock(folder);
    expect(readFileSync(file, 'utf8')).toBe(`${process.pid}\n`);
  });

  it('is not fooled by a process id that somebody else has now', () => {
    writeFileSync(join(folder, 'drive.pid'), '1');
    expect(() => takeLock(folder)).not.toThrow();
  });
});

describe('makeSocketFolder', () => {
  it('is in the state folder, for its owner alone', () => {
    const made = makeSocketFolder(folder);
    expect(made).toBe(join(folder, 'run'));
    expect(statSync(made).mode & 0o777).toBe(0o700);
  });

  it('is elsewhere when a socket in the state folder would have too long a path', () => {
    const deep = join(folder, 'd'.repeat(90));
    mkdirSync(deep);
    const made = makeSocketFolder(deep);
    expect(Buffer.byteLength(join(made, 'dashcam.sock'))).toBeLessThan(108);
    expect(statSync(made).mode & 0o777).toBe(0o700);
    rmSync(made, { recursive: true });
  });
});

describe('freePort', () => {
  const listen = (server: Server, port: number) =>
    new Promise<number>((resolve) =>
      server.listen(port, '127.0.0.1', () => resolve((server.address() as { port: number }).port)),
    );

  it('is another one when somebody has the preferred one', async () => {
    const server = createServer();
    const taken = await listen(server, 0);
    const found = await freePort(taken);
    expect(found).not.toBe(taken);
    server.close();
    expect(await freePort(found)).toBe(found);
  });
});

it('answers tells a socket that somebody serves from one that nobody does', async () => {
  const path = join(folder, 's.sock');
  await expect(answers(path)).rejects.toThrow('ENOENT');
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(path, resolve));
  await answers(path);
  await new Promise((resolve) => server.close(resolve));
  await expect(answers(path)).rejects.toThrow();
});
