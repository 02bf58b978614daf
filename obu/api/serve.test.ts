import { X509Certificate } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as tlsConnect } from 'node:tls';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { callControl, streamControl } from '../../shared/api/control-client.ts';
import { jsonReply } from '../../shared/api/control-routes.ts';
import { TlsControlServer } from '../../shared/api/tls-control-server.ts';
import { ErrorCode } from '../../shared/base/errors.ts';
import { silentLog } from '../../shared/base/log.ts';
import {
  type Credentials,
  createAuthority,
  createRevocationList,
  issueCertificate,
  type Subject,
} from '../../shared/identity/authority.ts';
import { writeIdentity } from '../../shared/identity/files.ts';
import type { Identity } from '../../shared/identity/identity.ts';
import { fixedIdentity, type IdentitySource } from '../../shared/identity/identity-watch.ts';
import { loadIdentity } from '../../shared/identity/x509-identity.ts';
import { mayOperate, vehicleApi } from './serve.ts';

let folder: string;
let authority: Credentials;
let server: TlsControlServer;
let changed = 0;
let made = 0;

const vehicle = (id: string): Subject => ({ kind: 'vehicle', id, tenant: 'ACME' });

async function identityOf(subject: Subject, issuer = authority) {
  const dir = join(folder, `identity-${made++}`);
  await writeIdentity(dir, await issueCertificate(issuer, subject), issuer.certificate);
  return loadIdentity(dir, subject.kind);
}

/** As somebody, to whom they expect to be the vehicle. */
async function call(
  subject: Subject,
  path = '/v1/change',
  expected: string | undefined = undefined,
  issuer?: Credentials,
) {
  const tls = (await identityOf(subject, issuer)).clientOptions(expected, 'vehicle');
  return callControl({ url: new URL(`https://127.0.0.1:${server.port}`), tls }, path, {
    method: 'POST',
    timeoutMs: 5000,
  });
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kerb-tls-'));
  authority = await createAuthority('Test CA');
  server = new TlsControlServer({
    listen: { host: '127.0.0.1', port: 0 },
    identity: await identityOf(vehicle('car-1')),
    mayCall: (caller) => mayOperate(caller, 'car-1', ['alice']),
    howAllowed: 'operators are named in its configuration under api.operators',
    listenKey: 'api.listen in the configuration',
    routes: {
      'POST /v1/change': () => jsonReply({ changed: ++changed }),
      'GET /v1/stream': () => ({ type: 'text/plain', body: numbers() }),
    },
    log: silentLog(),
  });
  await server.start();
});
afterAll(async () => {
  await server.stop();
  await rm(folder, { recursive: true });
});

async function* numbers(): AsyncGenerator<string> {
  for (let i = 0; ; i++) yield `${i}\n`;
}

it('serves operators that are named, and the vehicle itself', async () => {
  const before = changed;
  expect(JSON.parse((await call({ kind: 'operator', id: 'alice' })).toString())).toEqual({ changed: before + 1 });
  await call(vehicle('car-1'), '/v1/change', 'car-1');
  expect(changed).toBe(before + 2);
});

it.each<[string, Subject]>([
  ['an operator that is not named', { kind: 'operator', id: 'mallory' }],
  ['another vehicle', vehicle('car-2')],
  ['a vehicle that is called as an operator is', vehicle('alice')],
])('refuses %s, and does nothing', async (_who, subject) => {
  const before = changed;
  await expect(call(subject)).rejects.toMatchObject({
    code: ErrorCode.ApiForbidden,
    message: `${subject.kind} ${subject.id} may not use the API of vehicle car-1; operators are named in its configuration under api.operators`,
  });
  await expect(call(subject, '/no/such/route')).rejects.toMatchObject({ code: ErrorCode.ApiForbidden });
  expect(changed).toBe(before);
});

it('refuses a broker, which is no operator', async () => {
  const before = changed;
  await expect(call({ kind: 'broker', id: 'alice', hosts: [] })).rejects.toMatchObject({
    code: ErrorCode.ApiForbidden,
  });
  expect(changed).toBe(before);
});

it('refuses certificates of another authority, whichever end they are on', async () => {
  const before = changed;
  const other = await createAuthority('Other CA');
  await expect(call({ kind: 'operator', id: 'alice' }, '/v1/change', undefined, other)).rejects.toMatchObject({
    code: ErrorCode.ApiUnavailable,
  });
  // One that believes us and is not believed.
  const mine = await issueCertificate(other, { kind: 'operator', id: 'alice' });
  const tls = {
    cert: mine.certificate,
    key: mine.key,
    ca: authority.certificate,
    checkServerIdentity: () => undefined,
  };
  const url = new URL(`https://127.0.0.1:${server.port}`);
  await expect(callControl({ url, tls }, '/v1/change', { method: 'POST' })).rejects.toMatchObject({
    code: ErrorCode.ApiUnavailable,
  });
  expect(changed).toBe(before);
});

it('refuses who has no certificate, or an old TLS', async () => {
  const before = changed;
  const url = new URL(`https://127.0.0.1:${server.port}`);
  const tls = { ca: authority.certificate, checkServerIdentity: () => undefined };
  await expect(callControl({ url, tls }, '/v1/change', { method: 'POST' })).rejects.toMatchObject({
    code: ErrorCode.ApiUnavailable,
  });
  const old = tlsConnect({ port: server.port!, host: '127.0.0.1', ...tls, maxVersion: 'TLSv1.2' });
  await expect(new Promise((_resolve, reject) => old.on('error', reject))).rejects.toThrow(
    /protocol version|ECONNRESET/,
  );
  expect(changed).toBe(before);
});

it('bears what is no TLS', async () => {
  const socket = connect(server.port!, '127.0.0.1');
  socket.on('error', () => {});
  socket.write('GET /v1/change HTTP/1.1\r\n\r\n');
  await new Promise((resolve) => socket.on('close', resolve));
  await call({ kind: 'operator', id: 'alice' });
});

it('is not spoken to when it is another vehicle', async () => {
  await expect(call(vehicle('car-1'), '/v1/change', 'car-9')).rejects.toThrow(
    /the other end is urn:kerbside:vehicle:car-1, not urn:kerbside:vehicle:car-9/,
  );
});

it('streams until the caller goes', async () => {
  const tls = (await identityOf({ kind: 'operator', id: 'alice' })).clientOptions(undefined, 'vehicle');
  const stop = new AbortController();
  let bytes = 0;
  const target = { url: new URL(`https://127.0.0.1:${server.port}`), tls };
  for await (const chunk of streamControl(target, '/v1/stream', { signal: stop.signal })) {
    bytes += chunk.length;
    if (bytes > 1000) stop.abort();
  }
  expect(bytes).toBeGreaterThan(1000);
});

describe('a stream that is followed', () => {
  let operators = ['bob'];
  let own: TlsControlServer;
  let bob: Credentials;
  let vehicleDir: string;
  beforeEach(async () => {
    operators = ['bob'];
    vehicleDir = join(folder, `identity-${made++}`);
    await writeIdentity(vehicleDir, await issueCertificate(authority, vehicle('car-1')), authority.certificate);
    bob = await issueCertificate(authority, { kind: 'operator', id: 'bob' });
    own = new TlsControlServer({
      listen: { host: '127.0.0.1', port: 0 },
      identity: await loadIdentity(vehicleDir, 'vehicle'),
      mayCall: (caller) => mayOperate(caller, 'car-1', operators),
      howAllowed: '',
      listenKey: '',
      routes: { 'GET /v1/stream': () => ({ type: 'text/plain', body: slowly() }) },
      log: silentLog(),
    });
    await own.start();
  });
  afterEach(() => own.stop());

  let sent = 0;
  async function* slowly(): AsyncGenerator<string> {
    for (; ; sent++) {
      yield 'more\n';
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Follows it, does that to the server, and resolves when the stream was cut off. */
  async function cutOffBy(act: () => Promise<void> | void): Promise<void> {
    const dir = join(folder, `identity-${made++}`);
    await writeIdentity(dir, bob, authority.certificate);
    const tls = (await loadIdentity(dir, 'operator')).clientOptions('car-1', 'vehicle');
    const target = { url: new URL(`https://127.0.0.1:${own.port}`), tls };
    let chunks = 0;
    const follow = async () => {
      for await (const _ of streamControl(target, '/v1/stream', { signal: AbortSignal.timeout(20_000) })) {
        if (++chunks === 3) await act();
      }
    };
    await expect(follow()).rejects.not.toMatchObject({ name: 'TimeoutError' });
    expect(chunks).toBeGreaterThanOrEqual(3);
  }

  it('ends when its operator is revoked', () =>
    cutOffBy(async () => {
      const { serialNumber } = new X509Certificate(bob.certificate);
      const list = await createRevocationList(authority, new Map([[serialNumber, new Date()]]));
      await writeFile(join(vehicleDir, 'crl.pem'), list);
      own.renew(await loadIdentity(vehicleDir, 'vehicle'));
    }));

  it('ends when its operator is named no more', () =>
    cutOffBy(() => {
      operators = [];
    }));

  it('goes on when the certificate of the server is replaced', () =>
    cutOffBy(async () => {
      await writeIdentity(vehicleDir, await issueCertificate(authority, vehicle('car-1')), authority.certificate, true);
      own.renew(await loadIdentity(vehicleDir, 'vehicle'));
      const before = sent;
      // More than what may have been under way.
      void vi
        .waitUntil(() => sent > before + 20, { timeout: 20_000 })
        .then(() => {
          operators = [];
        });
    }));
});

it('says that its port is taken, and stops all the same', async () => {
  const second = new TlsControlServer({
    listen: { host: '127.0.0.1', port: server.port! },
    identity: await identityOf(vehicle('car-1')),
    mayCall: () => true,
    howAllowed: '',
    listenKey: 'api.listen in the configuration',
    routes: {},
    log: silentLog(),
  });
  await expect(second.start()).rejects.toMatchObject({
    code: ErrorCode.ApiUnavailable,
    message: `cannot listen on 127.0.0.1:${server.port} for the API: address already in use (EADDRINUSE); change api.listen in the configuration`,
  });
  await second.stop();
});

/** An identity that comes when it is given. */
function lateIdentity(trouble: string) {
  let use: ((identity: Identity) => void) | undefined;
  const source = {
    trouble,
    follow: (take: (identity: Identity) => void) => {
      use = take;
      return () => {
        use = undefined;
      };
    },
  };
  return { source, give: (identity: Identity) => use?.(identity) };
}

function remoteApi(source: IdentitySource, port = 0) {
  const troubles: string[] = [];
  const api = vehicleApi({
    api: { listen: { host: '127.0.0.1', port }, operators: ['alice'] },
    vehicle: 'car-1',
    identity: source,
    log: silentLog(),
    routes: { 'POST /v1/change': () => jsonReply({ changed: ++changed }) },
    report: (one) => one.event === 'remote-api-fault' && troubles.push(one.reason),
  });
  return { api, troubles };
}

it('waits for an identity, says why, and shows a renewed one to who comes then', async () => {
  const { source, give } = lateIdentity('waiting for the clock');
  const { api } = remoteApi(source);
  api.start();
  expect(api.status).toEqual({ listen: '127.0.0.1:0', listening: false, reason: 'waiting for the clock' });
  give(await identityOf(vehicle('car-1')));
  await expect.poll(() => api.status.listening, { timeout: 20_000 }).toBe(true);
  expect(api.status.reason).toBe('');
  const url = new URL(`https://${api.status.listen}`);
  const serialOf = async () => {
    const tls = (await identityOf({ kind: 'operator', id: 'alice' })).clientOptions('car-1', 'vehicle');
    await callControl({ url, tls }, '/v1/change', { method: 'POST', timeoutMs: 5000 });
    const socket = tlsConnect({ port: Number(url.port), host: '127.0.0.1', ...tls });
    await new Promise((resolve) => socket.on('secureConnect', resolve));
    const serial = socket.getPeerX509Certificate()!.serialNumber;
    socket.destroy();
    return serial;
  };
  const before = await serialOf();
  give(await identityOf(vehicle('car-1')));
  expect(await serialOf()).not.toBe(before);
  await api.stop();
  expect(api.status.listening).toBe(false);
});

it('tries again while its port is taken, and holds up nobody', async () => {
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
  const { port } = other.address() as { port: number };
  const { api, troubles } = remoteApi(fixedIdentity(await identityOf(vehicle('car-1'))), port);
  api.start();
  await expect.poll(() => api.status.reason, { timeout: 20_000 }).toContain(`127.0.0.1:${port}`);
  expect(troubles).toHaveLength(1);
  await new Promise((resolve) => other.close(resolve));
  await expect.poll(() => api.status.listening, { timeout: 30_000 }).toBe(true);
  await api.stop();
}, 60_000);

it('is stopped in the middle of waiting', async () => {
  const { source } = lateIdentity('expired');
  const { api } = remoteApi(source);
  api.start();
  await api.stop();
  expect(api.status.listening).toBe(false);
});
