import { X509Certificate } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { registerPkiCommands } from '../../cli/pki/pki-commands.ts';
import { ErrorCode } from '../base/errors.ts';
import { type Credentials, createAuthority, issueCertificate } from './authority.ts';
import { alternativeNames, principalOf } from './certificate.ts';
import { ensureDevelopmentIdentities } from './development.ts';
import { writeIdentity } from './files.ts';
import { parsePrincipalUrn, principalUrn } from './identity.ts';
import { loadIdentity } from './x509-identity.ts';

let root: string;
let authority: Credentials;
let nextDir = 0;
const freshDir = () => join(root, `d${nextDir++}`);

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'kerb-identity-'));
  authority = await createAuthority('Test CA');
});
afterAll(() => rmSync(root, { recursive: true, force: true }));
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

async function vehicleDir(): Promise<string> {
  const dir = freshDir();
  const issued = await issueCertificate(authority, { kind: 'vehicle', id: 'car-1', tenant: 'ACME' });
  await writeIdentity(dir, issued, authority.certificate);
  return dir;
}

const isBadIdentity = (message: RegExp) =>
  expect.objectContaining({ code: ErrorCode.BadIdentity, message: expect.stringMatching(message) });

describe('URNs', () => {
  test('there and back', () => {
    expect(parsePrincipalUrn(principalUrn('vehicle', 'car-1'))).toEqual({ kind: 'vehicle', id: 'car-1' });
    expect(principalUrn('broker', 'rsu.7')).toBe('urn:kerbside:broker:rsu.7');
  });

  test.each([
    '',
    'urn:kerbside:vehicle:',
    'urn:kerbside:tractor:x',
    'urn:kerbside:vehicle:../x',
    'xurn:kerbside:broker:a',
    'urn:kerbside:broker:a\n',
  ])('%j names nobody', (urn) => expect(parsePrincipalUrn(urn)).toBeUndefined());
});

describe('certificates', () => {
  test('a vehicle names itself and its tenant', async () => {
    const issued = await issueCertificate(authority, { kind: 'vehicle', id: 'car-1', tenant: 'Müller & Söhne' });
    const certificate = new X509Certificate(issued.certificate);
    expect(principalOf(certificate)).toEqual({
      kind: 'vehicle',
      id: 'car-1',
      tenant: 'Müller & Söhne',
      expiresAt: certificate.validToDate.getTime(),
    });
  });

  test('a broker names itself and its hosts', async () => {
    const issued = await issueCertificate(authority, { kind: 'broker', id: 'rsu-1', hosts: ['rsu.example', '::1'] });
    const certificate = new X509Certificate(issued.certificate);
    expect(principalOf(certificate)).toMatchObject({ kind: 'broker', id: 'rsu-1' });
    expect(alternativeNames(certificate)).toEqual([
      { type: 'URI', value: 'urn:kerbside:broker:rsu-1' },
      { type: 'DNS', value: 'rsu.example' },
      { type: 'IP Address', value: '0:0:0:0:0:0:0:1' },
    ]);
  });

  test('an operator names itself, and is neither vehicle nor broker', async () => {
    const dir = freshDir();
    await writeIdentity(
      dir,
      await issueCertificate(authority, { kind: 'operator', id: 'alice' }),
      authority.certificate,
    );
    expect((await loadIdentity(dir, ['vehicle', 'operator'])).self).toMatchObject({ kind: 'operator', id: 'alice' });
    await expect(loadIdentity(dir, 'vehicle')).rejects.toEqual(isBadIdentity(/is of operator alice; a vehicle's is/));
    await expect(loadIdentity(await vehicleDir(), ['operator', 'broker'])).rejects.toEqual(
      isBadIdentity(/an operator's or a broker's is needed here/),
    );
  });

  test('no certificate outlives its authority', async () => {
    const young = await createAuthority('Young', 10);
    const issued = await issueCertificate(young, { kind: 'broker', id: 'b', hosts: [] }, 365);
    expect(new X509Certificate(issued.certificate).validTo).toBe(new X509Certificate(young.certificate).validTo);
  });

  test('names that could be read as something else are refused', async () => {
    const vehicle = (id: string, tenant: string) => issueCertificate(authority, { kind: 'vehicle', id, tenant });
    await expect(vehicle('a/b', 'T')).rejects.toEqual(isBadIdentity(/is not a valid id/));
    await expect(vehicle('', 'T')).rejects.toEqual(isBadIdentity(/is not a valid id/));
    await expect(vehicle('a', 'T\nO=other')).rejects.toEqual(isBadIdentity(/is not a valid name/));
    await expect(vehicle('a', '')).rejects.toEqual(isBadIdentity(/is not a valid name/));
    const host = issueCertificate(authority, { kind: 'broker', id: 'b', hosts: ['x, URI:urn:kerbside:broker:c'] });
    await expect(host).rejects.toEqual(isBadIdentity(/neither a host name/));
    await expect(issueCertificate(authority, { kind: 'broker', id: 'b', hosts: [] }, 0)).rejects.toEqual(
      isBadIdentity(/1 to 36500 days/),
    );
  });

  test('an authority needs its own key, and has to be one', async () => {
    const other = await createAuthority('Other');
    const broker = { kind: 'broker', id: 'b', hosts: [] } as const;
    await expect(issueCertificate({ ...authority, key: other.key }, broker)).rejects.toEqual(
      isBadIdentity(/does not belong/),
    );
    const leaf = await issueCertificate(authority, broker);
    await expect(issueCertificate(leaf, broker)).rejects.toEqual(isBadIdentity(/not a self-signed CA/));
  });

  test('a certificate of the authority itself names nobody', () => {
    expect(() => principalOf(new X509Certificate(authority.certificate))).toThrow(/has 0/);
  });
});

describe('loading', () => {
  test('a good identity', async () => {
    const identity = await loadIdentity(await vehicleDir(), 'vehicle');
    expect(identity.self).toMatchObject({ kind: 'vehicle', id: 'car-1', tenant: 'ACME' });
  });

  test.each(['certificate.pem', 'key.pem', 'ca.pem'])('without %s the missing file is named', async (name) => {
    const dir = await vehicleDir();
    rmSync(join(dir, name));
    await expect(loadIdentity(dir, 'vehicle')).rejects.toEqual(isBadIdentity(new RegExp(`${name} is missing`)));
  });

  test.each(['certificate.pem', 'key.pem', 'ca.pem'])('a damaged %s', async (name) => {
    const dir = await vehicleDir();
    const path = join(dir, name);
    writeFileSync(path, readFileSync(path, 'utf8').replaceAll(/[A-Za-z]{8}/g, 'AAAAAAAA'));
    await expect(loadIdentity(dir, 'vehicle')).rejects.toEqual(isBadIdentity(/./));
  });

  test('the key of another certificate', async () => {
    const dir = await vehicleDir();
    copyFileSync(join(await vehicleDir(), 'key.pem'), join(dir, 'key.pem'));
    await expect(loadIdentity(dir, 'vehicle')).rejects.toEqual(isBadIdentity(/does not belong to the certificate/));
  });

  test('expired, and not yet valid', async () => {
    const dir = await vehicleDir();
    const later = new Date(Date.now() + 366 * 86_400_000);
    await expect(loadIdentity(dir, 'vehicle', later)).rejects.toEqual(isBadIdentity(/has expired/));
    const earlier = new Date(Date.now() - 86_400_000);
    await expect(loadIdentity(dir, 'vehicle', earlier)).rejects.toEqual(isBadIdentity(/not valid before/));
  });

  test('an authority of the same name but another key', async () => {
    const dir = await vehicleDir();
    writeFileSync(join(dir, 'ca.pem'), (await createAuthority('Test CA')).certificate);
    await expect(loadIdentity(dir, 'vehicle')).rejects.toEqual(isBadIdentity(/issued by none of the authorities/));
  });

  test('one good authority among several is enough', async () => {
    const dir = await vehicleDir();
    const other = await createAuthority('Another');
    writeFileSync(join(dir, 'ca.pem'), other.certificate + authority.certificate);
    expect((await loadIdentity(dir, 'vehicle')).self.id).toBe('car-1');
  });

  test("a vehicle's certificate does not serve a broker", async () => {
    await expect(loadIdentity(await vehicleDir(), 'broker')).rejects.toEqual(isBadIdentity(/a broker's is needed/));
  });

  test('a key that others can read', async () => {
    const dir = await vehicleDir();
    chmodSync(join(dir, 'key.pem'), 0o640);
    await expect(loadIdentity(dir, 'vehicle')).rejects.toEqual(isBadIdentity(/can be read by others \(mode 640\)/));
  });
});

describe('development identities', () => {
  const names = { vehicle: 'demo-car', broker: 'rsu-1', tenant: 'demo' };

  test('are made once, private, and then left alone', async () => {
    const dir = freshDir();
    const first = await ensureDevelopmentIdentities(dir, names);
    expect(first.made).toHaveLength(3);
    expect((await loadIdentity(first.vehicle, 'vehicle')).self).toMatchObject({ id: 'demo-car', tenant: 'demo' });
    expect((await loadIdentity(first.broker, 'broker')).self).toMatchObject({ id: 'rsu-1' });
    expect(statSync(join(dir, 'ca', 'key.pem')).mode & 0o777).toBe(0o600);
    const before = readFileSync(join(first.vehicle, 'certificate.pem'), 'utf8');
    expect((await ensureDevelopmentIdentities(dir, names)).made).toEqual([]);
    expect(readFileSync(join(first.vehicle, 'certificate.pem'), 'utf8')).toBe(before);
  });

  test('several at once agree on one authority and leave nothing else behind', async () => {
    const dir = freshDir();
    const all = await Promise.all(Array.from({ length: 6 }, () => ensureDevelopmentIdentities(dir, names)));
    expect(all.flatMap(({ made }) => made)).toHaveLength(3);
    expect(readdirSync(dir).sort()).toEqual(['broker-rsu-1', 'ca', 'vehicle-demo-car']);
    await loadIdentity(all[0]!.vehicle, 'vehicle');
    await loadIdentity(all[0]!.broker, 'broker');
  });

  test('what ends soon is renewed with the same key', async () => {
    const dir = freshDir();
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() - 340 * 86_400_000 });
    const made = await ensureDevelopmentIdentities(dir, names);
    vi.useRealTimers();
    const key = readFileSync(join(made.broker, 'key.pem'), 'utf8');
    const renewed = await ensureDevelopmentIdentities(dir, names);
    expect(renewed.made).toEqual([
      expect.stringMatching(/^renewed .* vehicle demo-car/),
      expect.stringMatching(/^renewed .* broker rsu-1/),
    ]);
    expect(readFileSync(join(made.broker, 'key.pem'), 'utf8')).toBe(key);
    const { self } = await loadIdentity(made.broker, 'broker');
    expect(self.expiresAt).toBeGreaterThan(Date.now() + 300 * 86_400_000);
  });

  test('a renewed authority is still believed by what the old one issued', async () => {
    const old = await createAuthority('Test CA', 30);
    const issued = await issueCertificate(old, { kind: 'vehicle', id: 'v', tenant: 'T' });
    const dir = freshDir();
    await writeIdentity(dir, issued, (await createAuthority('Test CA', 3650, old.key)).certificate);
    expect((await loadIdentity(dir, 'vehicle')).self.id).toBe('v');
  });

  test('another tenant or authority gets a new identity', async () => {
    const dir = freshDir();
    await ensureDevelopmentIdentities(dir, names);
    const moved = await ensureDevelopmentIdentities(dir, { ...names, tenant: 'other' });
    expect(moved.made).toHaveLength(1);
    expect((await loadIdentity(moved.vehicle, 'vehicle')).self).toMatchObject({ tenant: 'other' });
    rmSync(join(dir, 'ca'), { recursive: true });
    expect((await ensureDevelopmentIdentities(dir, { ...names, tenant: 'other' })).made).toHaveLength(3);
    await loadIdentity(moved.vehicle, 'vehicle');
  });

  test('a damaged authority is named, not replaced', async () => {
    const dir = freshDir();
    await ensureDevelopmentIdentities(dir, names);
    rmSync(join(dir, 'ca', 'key.pem'));
    await expect(ensureDevelopmentIdentities(dir, names)).rejects.toEqual(isBadIdentity(/is damaged/));
  });

  test('a directory that cannot be made is named', async () => {
    const file = freshDir();
    writeFileSync(file, '');
    await expect(ensureDevelopmentIdentities(join(file, 'identity'), names)).rejects.toEqual(
      isBadIdentity(/cannot keep development identities in .*ENOTDIR/),
    );
  });

  test('names cannot lead out of the directory', async () => {
    await expect(ensureDevelopmentIdentities(freshDir(), { ...names, broker: '../up' })).rejects.toEqual(
      isBadIdentity(/is not a valid id/),
    );
  });
});

describe('kerb pki', () => {
  async function kerb(...args: string[]): Promise<string> {
    const lines: string[] = [];
    vi.spyOn(console, 'log').mockImplementation((line) => void lines.push(line));
    const program = new Command().exitOverride();
    registerPkiCommands(program);
    await program.parseAsync(['pki', ...args], { from: 'user' });
    return lines.join('\n');
  }

  test('makes an authority, a vehicle and a broker, and shows them', async () => {
    const [ca, vehicle, broker] = [freshDir(), freshDir(), freshDir()];
    await kerb('ca', 'create', '--out', ca, '--name', 'City CA', '--days', '100');
    await kerb('vehicle', 'car-9', '--tenant', 'ACME', '--ca', ca, '--out', vehicle);
    await kerb('broker', 'rsu-9', '--host', 'localhost', '127.0.0.1', '--ca', ca, '--out', broker);
    expect((await loadIdentity(vehicle, 'vehicle')).self).toMatchObject({ id: 'car-9', tenant: 'ACME' });
    expect((await loadIdentity(broker, 'broker')).self).toMatchObject({ id: 'rsu-9' });
    expect(statSync(join(vehicle, 'key.pem')).mode & 0o777).toBe(0o600);
    expect(await kerb('show', join(vehicle, 'certificate.pem'))).toMatch(/speaks for +vehicle car-9, tenant ACME\n/);
    expect(await kerb('show', join(ca, 'certificate.pem'))).toMatch(/an authority\nsubject +CN=City CA/);
    expect(await kerb('show', broker)).toMatch(/speaks for +broker rsu-9\n/);
  });

  test('a broker needs no host: vehicles know it by its id', async () => {
    const [ca, broker] = [freshDir(), freshDir()];
    await kerb('ca', 'create', '--out', ca);
    expect(await kerb('broker', 'rsu-9', '--ca', ca, '--out', broker)).toMatch(
      /know it by this id, whatever its address$/,
    );
    expect(await kerb('show', broker)).toMatch(/names +URI:urn:kerbside:broker:rsu-9\n/);
  });

  test('what holds no certificate is told from one that is damaged', async () => {
    const ca = freshDir();
    await kerb('ca', 'create', '--out', ca);
    await expect(kerb('show', join(ca, 'key.pem'))).rejects.toEqual(
      isBadIdentity(/key\.pem holds no certificate in PEM form$/),
    );
    await expect(kerb('show', join(ca, 'none'))).rejects.toEqual(isBadIdentity(/none cannot be read: no such file/));
    const broken = join(ca, 'certificate.pem');
    writeFileSync(broken, readFileSync(broken, 'utf8').replace(/\n.{20}/, '\n'));
    await expect(kerb('show', ca)).rejects.toEqual(isBadIdentity(/certificate\.pem holds a damaged certificate: /));
  });

  test('never replaces a key unless told to', async () => {
    const ca = freshDir();
    await kerb('ca', 'create', '--out', ca);
    const key = readFileSync(join(ca, 'key.pem'), 'utf8');
    await expect(kerb('ca', 'create', '--out', ca)).rejects.toEqual(isBadIdentity(/there is a key already/));
    expect(readFileSync(join(ca, 'key.pem'), 'utf8')).toBe(key);
    await kerb('ca', 'create', '--out', ca, '--force');
    expect(readFileSync(join(ca, 'key.pem'), 'utf8')).not.toBe(key);
  });

  test('a missing authority is named', async () => {
    const out = freshDir();
    await expect(kerb('broker', 'b', '--ca', join(root, 'none'), '--out', out)).rejects.toEqual(
      isBadIdentity(/none\/certificate.pem/),
    );
  });
});
