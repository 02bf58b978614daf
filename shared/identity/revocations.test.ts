import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer, type TLSSocket, connect as tlsConnect } from 'node:tls';
import { Command } from 'commander';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { registerPkiCommands } from '../../cli/pki/pki-commands.ts';
import { ErrorCode } from '../base/errors.ts';
import { type Credentials, createAuthority, createRevocationList, issueCertificate } from './authority.ts';
import { writeIdentity } from './files.ts';
import { IdentityWatch } from './identity-watch.ts';
import { readRevocations } from './revocations.ts';
import { loadIdentity } from './x509-identity.ts';

const DAY_MS = 86_400_000;
let root: string;
let authority: Credentials;
let other: Credentials;
let next = 0;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'kerb-crl-'));
  [authority, other] = await Promise.all([createAuthority('One'), createAuthority('Two')]);
});
afterAll(() => rmSync(root, { recursive: true, force: true }));
afterEach(() => vi.useRealTimers());

const x509 = (credentials: Credentials) => new X509Certificate(credentials.certificate);
const car = (id = 'car-1', issuer = authority) => issueCertificate(issuer, { kind: 'vehicle', id, tenant: 'ACME' });
async function folder(id = 'rsu-1', authorities = authority.certificate, issuer = authority): Promise<string> {
  const dir = join(root, `d${next++}`);
  await writeIdentity(dir, await issueCertificate(issuer, { kind: 'broker', id, hosts: [] }), authorities);
  return dir;
}
async function listOf(issuer: Credentials, ...revoked: Credentials[]): Promise<string> {
  return await createRevocationList(issuer, new Map(revoked.map((one) => [x509(one).serialNumber, new Date()])));
}

/** The server's side of a connection of `credentials`. */
async function connection(dir: string, credentials: Credentials): Promise<{ socket: TLSSocket; end: () => void }> {
  const server = createServer((await loadIdentity(dir, 'broker')).serverOptions()).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const { certificate: cert, key } = credentials;
  const client = tlsConnect({ port, host: '127.0.0.1', cert, key, rejectUnauthorized: false });
  client.on('error', () => {});
  const [socket] = (await once(server, 'secureConnection')) as [TLSSocket];
  const end = () => {
    client.destroy();
    server.close();
  };
  return { socket, end };
}

describe('a list', () => {
  test('names what is revoked, and nothing else', async () => {
    const [stolen, good] = [await car(), await car('car-2')];
    const found = readRevocations(await listOf(authority, stolen), [x509(authority)], 'crl.pem');
    expect(found.has(x509(stolen), x509(authority))).toBe(true);
    expect(found.has(x509(good), x509(authority))).toBe(false);
    expect(found.has(x509(stolen), x509(other))).toBe(false);
    expect(found.goodUntil!.getTime() - Date.now()).toBeGreaterThan(40 * DAY_MS);
  });

  test('may be empty, and several may stand in one file: the newer one of an authority counts', async () => {
    const [stolen, second] = [await car(), await car('x', other)];
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() - DAY_MS });
    const old = await listOf(authority);
    vi.useRealTimers();
    const pems = [await listOf(authority, stolen), old, await listOf(other, second)].join('');
    const found = readRevocations(pems, [x509(authority), x509(other)], 'crl.pem');
    expect(found.has(x509(stolen), x509(authority))).toBe(true);
    expect(found.has(x509(second), x509(other))).toBe(true);
    expect(readRevocations(old, [x509(authority)], 'crl.pem').serials().size).toBe(0);
  });

  test.each<[string, (pem: string) => string, RegExp]>([
    ['no list', () => 'x', /crl\.pem holds no revocation list/],
    ['half of one', (pem) => pem.replace(/\n[\s\S]{200}/, '\n'), /damaged/],
    ['one of another authority', () => '', /none of the authorities that are trusted here has signed/],
    [
      'a changed one',
      (pem) => {
        const der = Buffer.from(pem.replace(/-----.*?-----|\s/g, ''), 'base64');
        der[der.indexOf('One') + 1]! ^= 1;
        return `-----BEGIN X509 CRL-----\n${der.toString('base64')}\n-----END X509 CRL-----\n`;
      },
      /none of the authorities/,
    ],
  ])('%s: refused with a sentence', async (what, change, message) => {
    const pem = await listOf(what.startsWith('one of another') ? other : authority, await car());
    const text = what.startsWith('one of another') ? pem : change(pem);
    expect(() => readRevocations(text, [x509(authority)], 'crl.pem')).toThrow(message);
  });

  test('random damage never does anything but that', async () => {
    const pem = await listOf(authority, await car(), await car('b'));
    const der = Buffer.from(pem.replace(/-----.*?-----|\s/g, ''), 'base64');
    for (let at = 0; at < der.length; at++) {
      const bytes = Buffer.from(der);
      bytes[at]! ^= 1 << (at % 8);
      const text = `-----BEGIN X509 CRL-----\n${bytes.toString('base64')}\n-----END X509 CRL-----\n`;
      // The unused bits and the encoding of the signature itself may be read in two ways; what is signed may not.
      if (at < der.length - 80)
        expect(() => readRevocations(text, [x509(authority)], 'crl.pem'), `${at}`).toThrow(/crl\.pem holds/);
    }
  });
});

describe('an identity with a list', () => {
  test('knows whose certificate is revoked, also on a connection that was there before', async () => {
    const dir = await folder();
    const stolen = await car();
    const { socket, end } = await connection(dir, stolen);
    expect((await loadIdentity(dir, 'broker')).peerOf(socket)).toMatchObject({ id: 'car-1', tenant: 'ACME' });
    writeFileSync(join(dir, 'crl.pem'), await listOf(authority, stolen));
    const now = await loadIdentity(dir, 'broker');
    expect(() => now.peerOf(socket)).toThrow(expect.objectContaining({ code: ErrorCode.CertificateRevoked }));
    end();
  });

  test('believes old and new authority at once, and the one that is gone no more', async () => {
    const dir = await folder('rsu-1', authority.certificate + other.certificate, other);
    const old = await connection(dir, await car());
    const fresh = await connection(dir, await car('car-2', other));
    const both = await loadIdentity(dir, 'broker');
    for (const { socket } of [old, fresh]) expect(both.peerOf(socket).kind).toBe('vehicle');
    writeFileSync(join(dir, 'ca.pem'), other.certificate);
    const one = await loadIdentity(dir, 'broker');
    expect(one.peerOf(fresh.socket)).toMatchObject({ id: 'car-2' });
    expect(() => one.peerOf(old.socket)).toThrow(/an authority that is not trusted here/);
    for (const { end } of [old, fresh]) end();
  });

  test('calls no broker whose certificate is revoked', async () => {
    const broker = await issueCertificate(authority, { kind: 'broker', id: 'rsu-9', hosts: [] });
    const dir = join(root, `d${next++}`);
    await writeIdentity(dir, await car(), authority.certificate);
    const check = async () =>
      (await loadIdentity(dir, 'vehicle')).clientOptions('rsu-9').checkServerIdentity!('', {
        raw: x509(broker).raw,
      } as never);
    expect(await check()).toBeUndefined();
    writeFileSync(join(dir, 'crl.pem'), await listOf(authority, broker));
    expect(await check()).toMatchObject({ code: ErrorCode.CertificateRevoked });
  });

  test.each<[string, () => Promise<string>, RegExp]>([
    ['damaged', async () => 'rubbish', /crl\.pem holds no revocation list in PEM form/],
    ['of another authority', () => listOf(other), /none of the authorities/],
    [
      'expired',
      async () => {
        vi.useFakeTimers({ toFake: ['Date'], now: Date.now() - 60 * DAY_MS });
        const ca = await createAuthority('x', undefined, authority.key);
        const list = await createRevocationList({ ...ca }, new Map());
        vi.useRealTimers();
        return list;
      },
      /was to be replaced by .*kerb pki revoke --ca CA/,
    ],
  ])('that is %s: said at the start; later that of before stays, with the fault', async (_, make, message) => {
    const dir = await folder();
    writeFileSync(join(dir, 'crl.pem'), await make());
    await expect(loadIdentity(dir, 'broker')).rejects.toMatchObject({
      code: ErrorCode.BadIdentity,
      message: expect.stringMatching(message),
    });

    const stolen = await car();
    const faulty = readFileSync(join(dir, 'crl.pem'));
    writeFileSync(join(dir, 'crl.pem'), await listOf(authority, stolen));
    const watch = new IdentityWatch({ dir, kind: 'broker', id: 'rsu-1' });
    const given: unknown[] = [];
    watch.follow((identity) => given.push(identity));
    await watch.look();
    expect(watch.state).toMatchObject({ word: 'Valid', reason: '', folderFault: '' });
    writeFileSync(join(dir, 'crl.pem'), faulty);
    await watch.look();
    expect(watch.state).toMatchObject({ word: 'Valid', folderFault: expect.stringMatching(message) });
    rmSync(join(dir, 'crl.pem'));
    await watch.look();
    expect(watch.state.folderFault).toMatch(/crl\.pem cannot be found; what it revoked stays revoked/);
    expect(given).toHaveLength(1);
    writeFileSync(join(dir, 'crl.pem'), await listOf(authority));
    await watch.look();
    expect(watch.state.folderFault).toBe('');
    expect(given).toHaveLength(2);
  });

  test('that grows too old while it is used goes on, and is said', async () => {
    const dir = await folder();
    writeFileSync(join(dir, 'crl.pem'), await listOf(authority));
    const clock = { offMs: 0 };
    const said: string[] = [];
    const onState = ({ reason }: { reason: string }) => said.push(reason);
    const watch = new IdentityWatch({
      dir,
      kind: 'broker',
      id: 'rsu-1',
      onState,
      wallMs: () => Date.now() + clock.offMs,
    });
    await watch.look();
    clock.offMs = 46 * DAY_MS;
    await watch.look();
    expect(said).toEqual(['', expect.stringMatching(/crl\.pem was to be replaced by/)]);
    expect(watch.trouble).toBe('');
  });
});

describe('kerb pki revoke', () => {
  const run = async (...args: string[]) => {
    const program = new Command().exitOverride().configureOutput({ writeErr: () => {} });
    registerPkiCommands(program);
    const log = vi.spyOn(console, 'log').mockImplementation(() => {});
    try {
      await program.parseAsync(['pki', ...args], { from: 'user' });
      return log.mock.calls.map(([line]) => line).join('\n');
    } finally {
      log.mockRestore();
    }
  };

  test('makes a list, extends it, makes it anew, and takes serial numbers', async () => {
    const ca = join(root, 'ca');
    await writeIdentity(ca, authority, undefined);
    const [dir, second, file] = [join(root, 'stolen'), await car('b'), join(root, 'second.pem')];
    const first = await car();
    await writeIdentity(dir, first, authority.certificate);
    writeFileSync(file, second.certificate);
    const serials = () => [
      ...readRevocations(readFileSync(join(ca, 'crl.pem'), 'utf8'), [x509(authority)], '')
        .serials()
        .keys(),
    ];
    expect(await run('revoke', dir, '--ca', ca)).toMatch(
      /^1 more revoked, 1 altogether; put .*crl\.pem beside the ca\.pem/,
    );
    expect(serials()).toEqual([x509(first).serialNumber]);
    const out = join(root, 'copy.pem');
    await run('revoke', file, dir, '--ca', ca, '--serial', '0a:Bc', '--out', out, '--days', '7');
    expect(serials().sort()).toEqual([x509(first).serialNumber, x509(second).serialNumber, 'ABC'].sort());
    expect(readFileSync(out)).toEqual(readFileSync(join(ca, 'crl.pem')));
    expect(await run('revoke', '--ca', ca)).toMatch(/^0 more revoked, 3 altogether/);
    expect(await run('show', file)).toContain(x509(second).serialNumber);
  });

  test.each<[string, () => Promise<string[]>, RegExp]>([
    [
      'a certificate of another authority',
      async () => [await foreign(), '--ca', join(root, 'ca')],
      /was not issued by/,
    ],
    ['a list that is damaged', async () => ['--ca', await withList('rubbish')], /holds no revocation list/],
    ['a folder that is no authority', async () => ['--ca', await folder()], /not a self-signed CA certificate/],
    ['a serial number that is none', async () => ['--ca', join(root, 'ca'), '--serial', 'xyz'], /hexadecimal digits/],
  ])('%s: refused, and the list stays', async (_, args, message) => {
    await expect(run('revoke', ...(await args()))).rejects.toThrow(message);
  });

  async function foreign(): Promise<string> {
    const path = join(root, `f${next++}`);
    writeFileSync(path, (await car('z', other)).certificate);
    return path;
  }
  async function withList(text: string): Promise<string> {
    const ca = join(root, `ca${next++}`);
    await writeIdentity(ca, authority, undefined);
    writeFileSync(join(ca, 'crl.pem'), text);
    copyFileSync(join(ca, 'crl.pem'), join(ca, 'copy'));
    return ca;
  }
});
