import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ErrorCode, KerbError } from '../base/errors.ts';
import { silentLog } from '../base/log.ts';
import { callControl, streamControl } from './control-client.ts';
import { jsonReply } from './control-routes.ts';
import { type ControlServerOptions, createControlServer } from './control-server.ts';

let dir: string;
let socketPath: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'kerb-control-'));
  socketPath = join(dir, 's');
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

function get(path: string, method = 'GET'): Promise<{ status: number; type: string; body: string }> {
  return new Promise((resolve, reject) => {
    const call = request({ socketPath, path, method }, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (chunk) => (body += chunk));
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, type: response.headers['content-type'] ?? '', body }),
      );
    });
    call.on('error', reject);
    call.end();
  });
}

function serverWith(routes: ControlServerOptions['routes']) {
  return createControlServer({ socketPath, routes, log: silentLog() });
}

test('answers its routes, is private, and leaves no file behind', async () => {
  const server = serverWith({
    'GET /v1/status': async () => jsonReply({ broker: 'rsu-1' }),
    'GET /metrics': () => ({ type: 'text/plain', body: 'ä 1\n' }),
  });
  await server.start();
  expect(statSync(socketPath).mode & 0o777).toBe(0o600);
  expect(await get('/v1/status?x=1')).toEqual({ status: 200, type: 'application/json', body: '{"broker":"rsu-1"}' });
  expect((await get('/metrics')).body).toBe('ä 1\n');
  expect((await get('/v1/status', 'POST')).status).toBe(404);
  expect((await get('/constructor')).status).toBe(404);
  await server.stop();
  expect(existsSync(socketPath)).toBe(false);
  await server.stop();
});

test('a route that refuses is a 400 with its sentence, one with a defect a 500', async () => {
  const server = serverWith({
    'GET /v1/status': () => {
      throw new KerbError(ErrorCode.BusDown, 'the bus is down', { bus: 'can0' });
    },
    'GET /defect': () => {
      throw new TypeError('x is undefined');
    },
  });
  await server.start();
  const { status, body } = await get('/v1/status');
  expect(status).toBe(400);
  expect(JSON.parse(body)).toEqual({ message: 'the bus is down', code: ErrorCode.BusDown, context: { bus: 'can0' } });
  expect(await get('/defect')).toMatchObject({ status: 500, body: '{"message":"x is undefined"}' });
  await expect(callControl(socketPath, '/v1/status')).rejects.toMatchObject({
    code: ErrorCode.BusDown,
    message: 'the bus is down',
    context: { bus: 'can0' },
  });
  await expect(callControl(socketPath, '/defect')).rejects.toMatchObject({ code: ErrorCode.ApiUnavailable });
  await expect(callControl(socketPath, '/nowhere')).rejects.toThrow('no such route: GET /nowhere');
  await server.stop();
});

test('a route gets what was asked: the parts of its path, the query, the body', async () => {
  const server = serverWith({
    'POST /v1/workloads/:name/freeze': ({ params, query, body }) =>
      jsonReply({ params, by: query.get('by'), body: body.toString() }),
  });
  await server.start();
  const path = `/v1/workloads/${encodeURIComponent('a/b')}/freeze?by=me`;
  const reply = await callControl(socketPath, path, { method: 'POST', body: 'why' });
  expect(JSON.parse(reply.toString())).toEqual({ params: { name: 'a/b' }, by: 'me', body: 'why' });
  const odd = await callControl(socketPath, '/v1/workloads/%zz/freeze', { method: 'POST' });
  expect(JSON.parse(odd.toString()).params).toEqual({ name: '%zz' });
  expect((await get('/v1/workloads//freeze', 'POST')).status).toBe(404);
  expect((await get('/v1/workloads/a/b/freeze', 'POST')).status).toBe(404);
  await server.stop();
});

test('a body that is too long is refused, and the server goes on', async () => {
  const server = serverWith({ 'PUT /v1/manifest': ({ body }) => jsonReply(body.length) });
  await server.start();
  const send = (size: number) => callControl(socketPath, '/v1/manifest', { method: 'PUT', body: Buffer.alloc(size) });
  await expect(send(5 * 1024 * 1024)).rejects.toMatchObject({ code: ErrorCode.ApiUnavailable });
  expect((await send(4 * 1024 * 1024)).toString()).toBe(String(4 * 1024 * 1024));
  await server.stop();
});

test('an answer that never ends comes in parts, and ends with its client', async () => {
  let ended = 0;
  const server = serverWith({
    'GET /v1/events': ({ signal }) => ({
      type: 'text/plain',
      body: (async function* () {
        try {
          for (let n = 0; !signal.aborted; n++) {
            yield `${n}\n`;
            await new Promise((resolve) => setTimeout(resolve, 5));
          }
        } finally {
          ended++;
        }
      })(),
    }),
  });
  await server.start();
  let text = '';
  for await (const chunk of streamControl(socketPath, '/v1/events')) {
    text += chunk.toString();
    if (text.includes('3\n')) break;
  }
  expect(text).toMatch(/^0\n1\n2\n3\n/);
  const stop = new AbortController();
  const again = streamControl(socketPath, '/v1/events', { signal: stop.signal });
  await again.next();
  stop.abort();
  while (!(await again.next()).done);
  while (ended < 2) await new Promise((resolve) => setTimeout(resolve, 5));
  await server.stop();
});

test('nobody there is told apart from no answer in time', async () => {
  await expect(callControl(socketPath, '/')).rejects.toMatchObject({ cause: { code: 'ENOENT' } });
  const server = serverWith({ 'GET /': () => new Promise(() => {}) });
  await server.start();
  await expect(callControl(socketPath, '/', { timeoutMs: 50 })).rejects.toThrow('nothing came within 50 ms');
  await server.stop();
});

test('a socket that somebody answers on is left alone', async () => {
  const first = serverWith({ 'GET /v1/status': () => jsonReply(1) });
  await first.start();
  await expect(serverWith({}).start()).rejects.toMatchObject({ code: ErrorCode.ApiUnavailable });
  expect((await get('/v1/status')).body).toBe('1');
  await first.stop();
});

test('a stale socket is replaced', async () => {
  // A bound socket file whose listener is gone, as after SIGKILL: hard-link it away from Node's own clean-up.
  const { linkSync } = await import('node:fs');
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(join(dir, 'other'), resolve));
  linkSync(join(dir, 'other'), socketPath);
  await new Promise((resolve) => other.close(resolve));
  expect(existsSync(socketPath)).toBe(true);
  const server = serverWith({ 'GET /v1/status': () => jsonReply(2) });
  await server.start();
  expect((await get('/v1/status')).body).toBe('2');
  await server.stop();
});

test('a file that is no socket is never removed', async () => {
  writeFileSync(socketPath, 'mine');
  await expect(serverWith({}).start()).rejects.toMatchObject({ code: ErrorCode.ApiUnavailable });
  expect(existsSync(socketPath)).toBe(true);
});

test('a path that Linux would cut is refused', async () => {
  socketPath = join(dir, 'x'.repeat(108));
  await expect(serverWith({}).start()).rejects.toThrow(/longer than 107 bytes/);
});

test('a directory that is not there is named', async () => {
  socketPath = join(dir, 'no', 's');
  await expect(serverWith({}).start()).rejects.toThrow(socketPath);
});

test('stopped in the middle of starting, it leaves nothing behind', async () => {
  const server = serverWith({});
  const starting = server.start();
  await server.stop();
  await starting;
  await server.stop();
  expect(existsSync(socketPath)).toBe(false);
});
