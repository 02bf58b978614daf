import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { Connections } from './connections.ts';

let server: Server;
let connections: Connections;
let clients: Socket[];
/** By the first line that a client has sent: those whose handshake is begun. */
let begun: string[];
let onMet: (socket: Socket) => void = () => {};

async function start(max: number, random = 0): Promise<void> {
  connections = new Connections({ max, random: () => random });
  server = createServer({ pauseOnConnect: true }, (socket) => {
    connections.meet(socket, () => {
      begun.push(String(socket.read()));
      onMet(socket);
    });
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
}

/** @param hello what it says at once; empty: nothing */
async function client(hello = ''): Promise<Socket> {
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  clients.push(socket);
  socket.on('error', () => {}).resume();
  await once(socket, 'connect');
  if (hello !== '') socket.write(hello);
  return socket;
}

async function clientsOf(count: number, hello = ''): Promise<Socket[]> {
  const all: Socket[] = [];
  for (let n = 0; n < count; n++) all.push(await client(hello));
  return all;
}

beforeEach(() => {
  clients = [];
  begun = [];
  onMet = () => {};
});
afterEach(async () => {
  for (const socket of clients) socket.destroy();
  await connections.close(100);
  server.close();
});

describe('strangers of one address', () => {
  test('that say nothing cost no handshake, and make room for one that speaks, the oldest first', async () => {
    await start(1000);
    const silent = await clientsOf(256);
    await vi.waitUntil(() => connections.size === 256);
    expect(begun).toEqual([]);
    const gone = once(silent[0]!, 'close');
    await client('hello');
    await vi.waitUntil(() => begun.length === 1);
    await gone;
    expect(begun).toEqual(['hello']);
    expect(connections.size).toBe(256);
    expect(silent.slice(1).every(({ destroyed }) => !destroyed)).toBe(true);
  });

  test('that speak wait for their handshakes when there are too many, and none of them is turned away', async () => {
    await start(1000);
    await clientsOf(250, 'hello');
    await vi.waitUntil(() => begun.length >= 200);
    await vi.waitUntil(() => begun.length === 250, { timeout: 10_000 });
    expect(connections.size).toBe(250);
  });

  test('when the first has waited for long, the newest goes first: it is there for certain', async () => {
    await start(1000);
    const now = performance.now();
    const clock = vi.spyOn(performance, 'now').mockImplementation(() => now);
    await clientsOf(200, 'spent');
    await vi.waitUntil(() => begun.length === 200);
    begun = [];
    await clientsOf(3, 'old');
    await vi.waitUntil(() => connections.size === 203);
    await new Promise((resolve) => setTimeout(resolve, 50));
    clock.mockImplementation(() => now + 1);
    await client('new');
    await vi.waitUntil(() => connections.size === 204);
    await new Promise((resolve) => setTimeout(resolve, 50));
    clock.mockImplementation(() => now + 5000);
    await vi.waitUntil(() => begun.length > 0);
    expect(begun[0]).toBe('new');
    clock.mockRestore();
    await vi.waitUntil(() => begun.length === 4);
  });

  test('when all have spoken, any of them makes room, and not always the oldest', async () => {
    await start(1000, 0.5);
    const all = await clientsOf(256, 'hello');
    await vi.waitUntil(() => begun.length === 256, { timeout: 10_000 });
    const gone = once(all[128]!, 'close');
    await client('hello');
    await gone;
    expect(all[0]!.destroyed).toBe(false);
    expect(connections.size).toBe(256);
  });
});

describe('when all places are taken', () => {
  test('whoever has shown a certificate stays, and a stranger makes room', async () => {
    await start(3);
    onMet = (socket) => connections.known(socket);
    const known = await clientsOf(2, 'hello');
    await vi.waitUntil(() => begun.length === 2);
    const silent = await client();
    await vi.waitUntil(() => connections.size === 3);
    const gone = once(silent, 'close');
    await client('hello');
    await gone;
    await vi.waitUntil(() => begun.length === 3);
    expect(known.every(({ destroyed }) => !destroyed)).toBe(true);
    // All have shown one now: there is nobody to make room.
    const late = await client('hello');
    await once(late, 'close');
    expect(connections.size).toBe(3);
  });

  test('one that is held makes room before any stranger does', async () => {
    await start(3);
    onMet = (socket) => {
      if (begun.at(-1) === 'again') connections.hold(socket);
      if (connections.isHeld(socket)) begun.push('held');
    };
    const stranger = await client('stranger');
    const held = await client('again');
    await client('other');
    await vi.waitUntil(() => begun.length === 4);
    expect(begun).toEqual(['stranger', 'again', 'held', 'other']);
    const gone = once(held, 'close');
    await client('more');
    await gone;
    await vi.waitUntil(() => begun.at(-1) === 'more');
    expect(stranger.destroyed).toBe(false);
  });
});

test('closing ends who waits, and nobody is met after it', async () => {
  await start(10);
  const [silent, late] = [await client(), await client()];
  await vi.waitUntil(() => connections.size === 2);
  const gone = Promise.all([once(silent, 'close'), once(late, 'close')]);
  await connections.close(1000);
  await gone;
  expect(connections.size).toBe(0);
  const after = await client('hello');
  await once(after, 'close');
  expect(begun).toEqual([]);
});
