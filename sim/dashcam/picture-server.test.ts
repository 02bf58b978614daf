import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ErrorCode } from '../../shared/base/errors.ts';
import { silentLog } from '../../shared/base/log.ts';
import { PictureServer, y4mHeader } from './picture-server.ts';

const FORMAT = { width: 640, height: 480, fps: 15 };
const PLANES = 640 * 480 * 1.5;
const HEADER = 'YUV4MPEG2 W640 H480 F15000:1000 Ip A1:1 C420jpeg XCOLORRANGE=FULL\n';

let folder: string;
let socketPath: string;
let server: PictureServer;
const clients: Socket[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'kerb-pictures-'));
  socketPath = join(folder, 'cam.sock');
  server = new PictureServer({ socketPath, format: FORMAT, log: silentLog() });
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.destroy();
  await server.stop();
  rmSync(folder, { recursive: true });
});

function reader(): { socket: Socket; received: () => Buffer } {
  const socket = connect(socketPath);
  const chunks: Buffer[] = [];
  socket.on('data', (chunk) => chunks.push(chunk));
  clients.push(socket);
  return { socket, received: () => Buffer.concat(chunks) };
}

describe('PictureServer', () => {
  it('gives each reader its own header and then whole pictures', async () => {
    await server.start();
    const first = reader();
    await vi.waitFor(() => expect(first.received().toString()).toBe(HEADER));
    server.send(Buffer.alloc(PLANES, 1));
    await vi.waitFor(() => expect(first.received()).toHaveLength(HEADER.length + 6 + PLANES));
    const second = reader();
    await vi.waitFor(() => expect(server.readers).toBe(2));
    server.send(Buffer.alloc(PLANES, 2));
    const expected = Buffer.concat([Buffer.from(`${HEADER}FRAME\n`), Buffer.alloc(PLANES, 2)]);
    await vi.waitFor(() => expect(second.received().equals(expected)).toBe(true));
    expect(y4mHeader(FORMAT)).toBe(HEADER);
  });

  it('lets a reader that does not read lose pictures, and nobody else', async () => {
    await server.start();
    const slow = connect(socketPath);
    clients.push(slow);
    slow.pause();
    const quick = reader();
    await vi.waitFor(() => expect(server.readers).toBe(2));
    let bytes = 0;
    quick.socket.on('data', (chunk) => {
      bytes += chunk.length;
    });
    while (bytes < 20 * (6 + PLANES)) {
      server.send(Buffer.alloc(PLANES));
      await setTimeout(2);
    }
    // What the slow one gets when it wakes up is a gapless stream of fewer, whole pictures, the newest not among them.
    const late: Buffer[] = [];
    slow.on('data', (chunk) => late.push(chunk));
    slow.resume();
    await vi.waitFor(() => expect(Buffer.concat(late).length).toBeGreaterThan(PLANES));
    await vi.waitFor(() => expect((Buffer.concat(late).length - HEADER.length) % (6 + PLANES)).toBe(0));
    expect(Buffer.concat(late).length).toBeLessThan(HEADER.length + 5 * (6 + PLANES));
  });

  it('forgets a reader that goes away in the middle of a picture', async () => {
    await server.start();
    const { socket } = reader();
    await vi.waitFor(() => expect(server.readers).toBe(1));
    socket.pause();
    server.send(Buffer.alloc(PLANES));
    socket.destroy();
    await vi.waitFor(() => expect(server.readers).toBe(0));
    server.send(Buffer.alloc(PLANES));
  });

  it('takes its socket away with it, and sends readers away', async () => {
    await server.start();
    const { socket } = reader();
    await vi.waitFor(() => expect(server.readers).toBe(1));
    const ended = new Promise((resolve) => socket.once('close', resolve));
    await server.stop();
    await ended;
    expect(existsSync(socketPath)).toBe(false);
    await server.stop();
  });

  it('leaves nothing behind when it is stopped while it starts', async () => {
    const starting = server.start();
    await server.stop();
    await starting;
    expect(existsSync(socketPath)).toBe(false);
  });

  it('replaces the socket of a dead process', async () => {
    // Node removes its socket when it closes, so bind one in a process that is killed.
    const script = `require('net').createServer().listen(${JSON.stringify(socketPath)}, () => process.kill(process.pid, 'SIGKILL'))`;
    spawnSync(process.execPath, ['-e', script]);
    expect(existsSync(socketPath)).toBe(true);
    await server.start();
    const { received } = reader();
    await vi.waitFor(() => expect(received().toString()).toBe(HEADER));
  });

  it('refuses a path that somebody else serves, that is a file, or whose folder is missing', async () => {
    const failure = expect.objectContaining({ code: ErrorCode.SimulatorFailed });
    const other = createServer().listen(socketPath);
    await vi.waitFor(() => expect(other.listening).toBe(true));
    await expect(server.start()).rejects.toThrow(failure);
    expect(existsSync(socketPath)).toBe(true);
    await new Promise((resolve) => other.close(resolve));

    writeFileSync(socketPath, 'precious');
    await expect(server.start()).rejects.toThrow(failure);

    server = new PictureServer({ socketPath: join(folder, 'no', 'cam.sock'), format: FORMAT, log: silentLog() });
    await expect(server.start()).rejects.toThrow(failure);
  });
});
