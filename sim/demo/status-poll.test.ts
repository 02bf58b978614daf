import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { ErrorCode } from '../../shared/base/errors.ts';
import { StatusPoll } from './status-poll.ts';

let folder: string;
const servers: Server[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kerb-poll-'));
});
afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
  await rm(folder, { recursive: true });
});

/** A daemon that counts its answers, and hangs while `hangs` says so: it takes connections and never answers. */
async function daemon(name: string) {
  const self = { socket: join(folder, name), hangs: false, answers: 0 };
  const server = createServer((_request, response) => {
    if (!self.hangs) response.end(JSON.stringify({ name, answers: ++self.answers }));
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(self.socket, resolve));
  return self;
}

it('a daemon that hangs is said to be silent, and delays nobody else', async () => {
  const [good, bad] = [await daemon('good'), await daemon('bad')];
  const goodPoll = new StatusPoll<{ answers: number }>(() => good.socket);
  const badPoll = new StatusPoll<{ answers: number }>(() => bad.socket);
  goodPoll.start();
  badPoll.start();
  try {
    await expect.poll(() => badPoll.last?.answers, { timeout: 30_000 }).toBeGreaterThan(0);
    expect(badPoll.silentMs).toBeUndefined();
    bad.hangs = true;
    await expect.poll(() => badPoll.silentMs, { timeout: 30_000 }).toBeGreaterThan(1500);
    const before = good.answers;
    await expect.poll(() => good.answers, { timeout: 30_000 }).toBeGreaterThan(before + 2);
    expect(badPoll.last).toMatchObject({ name: 'bad' }); // what it said last is kept
    bad.hangs = false;
    await expect.poll(() => badPoll.silentMs, { timeout: 30_000 }).toBeUndefined();
  } finally {
    await goodPoll.stop();
    await badPoll.stop();
  }
});

it('nobody there is an error of the one question, and nothing is silent that never spoke', async () => {
  const poll = new StatusPoll(() => join(folder, 'nobody'));
  await expect(poll.ask()).rejects.toMatchObject({ code: ErrorCode.ApiUnavailable });
  expect(poll.silentMs).toBeUndefined();
  expect(poll.last).toBeUndefined();
  await poll.stop();
});
