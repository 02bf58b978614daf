/**
 * Issues certificates. Loaded only by `kerb pki` and for development identities: a running daemon reads certificates
 * with Node's own X509Certificate and never needs this.
 */
import 'reflect-metadata'; // for @peculiar/x509's tsyringe, which refuses to load without it
import { createPrivateKey, type KeyObject, randomBytes, webcrypto, X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import * as x509 from '@peculiar/x509';
import { ErrorCode, KerbError } from '../base/errors.ts';
import { quoted } from '../base/quoted.ts';
import { isIssuedBy } from './certificate.ts';
import { checkId, checkTenant, principalUrn } from './identity.ts';

/** A certificate and its key, PEM. */
export interface Credentials {
  readonly certificate: string;
  readonly key: string;
}

/** For whom a certificate is made. `hosts` are DNS names or IP addresses, for clients that check the address as well. */
export type Subject =
  | { readonly kind: 'vehicle'; readonly id: string; readonly tenant: string }
  | { readonly kind: 'broker'; readonly id: string; readonly hosts: readonly string[] }
  | { readonly kind: 'operator'; readonly id: string };

export const AUTHORITY_DAYS = 3650;
export const CERTIFICATE_DAYS = 365;
/** Long enough for edge elements that get a new list by hand, once a month. */
export const REVOCATION_DAYS = 45;

const DAY_MS = 86_400_000;
/** Clocks of cars are late or early; a certificate is valid a little before it was made. */
const EARLY_MS = 5 * 60_000;
const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
const HOST = /^(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$/;

/** Brokers only listen and operators only call; a vehicle calls brokers, and its OBU may listen for operators. */
const USAGES: { readonly [Kind in Subject['kind']]: x509.ExtendedKeyUsage[] } = {
  vehicle: [x509.ExtendedKeyUsage.clientAuth, x509.ExtendedKeyUsage.serverAuth],
  broker: [x509.ExtendedKeyUsage.serverAuth],
  operator: [x509.ExtendedKeyUsage.clientAuth],
};

/** A self-signed authority. With `keyPem` a new certificate for the same key, which what it has issued still chains to. */
export async function createAuthority(
  name: string,
  days: number = AUTHORITY_DAYS,
  keyPem?: string,
): Promise<Credentials> {
  const keys = keyPem === undefined ? await generateKeys() : await importKeys(keyPem);
  const subject = [{ CN: [name] }];
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject,
    issuer: subject,
    publicKey: keys.publicKey,
    signingKey: keys.privateKey,
    signingAlgorithm: ALGORITHM,
    ...validity(days),
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificate: pemText(certificate), key: keyPem ?? (await exportKey(keys.privateKey)) };
}

/**
 * A certificate for a vehicle, a broker or an operator; with `keyPem` for that key, else for a new one.
 * @throws KerbError BadIdentity: an id, tenant or host that is none, or an authority whose key is another's or that has
 * expired. Never valid for longer than its authority.
 */
export async function issueCertificate(
  authority: Credentials,
  subject: Subject,
  days: number = CERTIFICATE_DAYS,
  keyPem?: string,
): Promise<Credentials> {
  checkId(subject.kind, subject.id);
  if (subject.kind === 'vehicle') checkTenant(subject.tenant);
  const hosts = subject.kind === 'broker' ? subject.hosts.map(checkHost) : [];
  const issuer = checkAuthority(authority);
  const signingKey = await importKeys(authority.key);
  const keys = keyPem === undefined ? await generateKeys() : await importKeys(keyPem);

  const { notBefore, notAfter } = validity(days);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: subject.kind === 'vehicle' ? [{ O: [subject.tenant] }, { CN: [subject.id] }] : [{ CN: [subject.id] }],
    issuer: new x509.X509Certificate(authority.certificate).subjectName,
    publicKey: keys.publicKey,
    signingKey: signingKey.privateKey,
    signingAlgorithm: ALGORITHM,
    notBefore,
    notAfter: new Date(Math.min(notAfter.getTime(), issuer.validToDate.getTime())),
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension(USAGES[subject.kind]),
      new x509.SubjectAlternativeNameExtension([
        { type: 'url', value: principalUrn(subject.kind, subject.id) },
        ...hosts,
      ]),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(signingKey.publicKey),
    ],
  });
  return { certificate: pemText(certificate), key: keyPem ?? (await exportKey(keys.privateKey)) };
}

/**
 * A revocation list of an authority.
 * @param serials of certificates, as `X509Certificate.serialNumber` has them, and since when they are revoked
 * @throws KerbError BadIdentity as `issueCertificate`
 */
export async function createRevocationList(
  authority: Credentials,
  serials: ReadonlyMap<string, Date>,
  days: number = REVOCATION_DAYS,
): Promise<string> {
  checkAuthority(authority);
  const { privateKey, publicKey } = await importKeys(authority.key);
  const { notAfter } = validity(days);
  const list = await x509.X509CrlGenerator.create({
    issuer: new x509.X509Certificate(authority.certificate).subject,
    thisUpdate: new Date(),
    nextUpdate: notAfter,
    entries: [...serials].map(([serialNumber, revocationDate]) => ({ serialNumber, revocationDate })),
    signingKey: privateKey,
    signingAlgorithm: ALGORITHM,
    extensions: [await x509.AuthorityKeyIdentifierExtension.create(publicKey)],
  });
  // The library's own label is one that nobody else reads (RFC 7468, 7).
  const lines =
    Buffer.from(list.rawData)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return ['-----BEGIN X509 CRL-----', ...lines, '-----END X509 CRL-----', ''].join('\n');
}

function checkAuthority(authority: Credentials): X509Certificate {
  const certificate = new X509Certificate(authority.certificate);
  if (!certificate.checkPrivateKey(createPrivateKey(authority.key))) {
    throw new KerbError(ErrorCode.BadIdentity, 'the key of the authority does not belong to its certificate');
  }
  if (!isIssuedBy(certificate, certificate)) {
    throw new KerbError(
      ErrorCode.BadIdentity,
      'the certificate of the authority is not a self-signed CA certificate; make one with `kerb pki ca create`',
    );
  }
  if (certificate.validToDate.getTime() < Date.now()) {
    throw new KerbError(
      ErrorCode.BadIdentity,
      `the authority has expired at ${certificate.validToDate.toISOString()}; make a new one with \`kerb pki ca create\``,
    );
  }
  return certificate;
}

function checkHost(host: string): { type: 'dns' | 'ip'; value: string } {
  if (isIP(host) !== 0) return { type: 'ip', value: host };
  if (HOST.test(host)) return { type: 'dns', value: host };
  throw new KerbError(ErrorCode.BadIdentity, `${quoted(host)} is neither a host name nor an IP address`, {
    host,
  });
}

function validity(days: number): { notBefore: Date; notAfter: Date } {
  if (!(days >= 1 && days <= 36_500)) {
    throw new KerbError(ErrorCode.BadIdentity, `a certificate is valid for 1 to 36500 days, not ${days}`, { days });
  }
  const now = Date.now();
  return { notBefore: new Date(now - EARLY_MS), notAfter: new Date(now + days * DAY_MS) };
}

/** Positive and 16 bytes long (RFC 5280, 4.1.2.2, allows 20). */
function serialNumber(): string {
  const bytes = randomBytes(16);
  bytes[0] = (bytes[0]! & 0x7f) | 0x40;
  return bytes.toString('hex');
}

async function generateKeys(): Promise<webcrypto.CryptoKeyPair> {
  return await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
}

async function importKeys(pem: string): Promise<webcrypto.CryptoKeyPair> {
  const privateKey: KeyObject = createPrivateKey(pem);
  const { kty, crv, x, y } = privateKey.export({ format: 'jwk' });
  return {
    privateKey: privateKey.toCryptoKey(ALGORITHM, true, ['sign']),
    publicKey: await webcrypto.subtle.importKey('jwk', { kty, crv, x, y }, ALGORITHM, true, ['verify']),
  };
}

async function exportKey(key: webcrypto.CryptoKey): Promise<string> {
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', key));
  return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
    .export({ format: 'pem', type: 'pkcs8' })
    .toString();
}

function pemText(certificate: x509.X509Certificate): string {
  return `${certificate.toString('pem').trim()}\n`;
}
