import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
// Node 24 (24.21): where `toLegacyObject` is called before this module is loaded, no TLS connection is ever begun after it.
import 'node:tls';
import type { TLSSocket } from 'node:tls';
import { ErrorCode, isErrno, KerbError, messageOf } from '../base/errors.ts';
import { readFault } from '../host/read-fault.ts';
import { type Identity, isTenant, type Principal, parsePrincipalUrn, principalUrn } from './identity.ts';

/** The three files of an identity directory, all PEM. */
export const IDENTITY_FILES = {
  /** The certificate of this daemon. */
  certificate: 'certificate.pem',
  /** Its private key, PKCS #8, readable by its owner only. */
  key: 'key.pem',
  /** The authorities that are believed, one or more. One of them has issued the certificate. */
  authorities: 'ca.pem',
} as const;

const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g;

/** What an identity directory holds, whether or not it is the time for it. */
export interface ReadIdentity {
  readonly identity: Identity;
  /** Outside of these the certificate is not believed by anybody whose clock is right. */
  readonly validFrom: Date;
  readonly validTo: Date;
}

/**
 * Reads and checks an identity directory.
 * @throws KerbError as `readIdentity`, and BadIdentity when the certificate is outside its validity
 */
export async function loadIdentity(
  dir: string,
  kind: Principal['kind'] | readonly Principal['kind'][],
  now: Date = new Date(),
): Promise<Identity> {
  const { identity, ...validity } = await readIdentity(dir, kind);
  checkValidity(validity, join(dir, IDENTITY_FILES.certificate), now);
  return identity;
}

/**
 * Reads an identity directory and checks all but the time.
 * @throws KerbError BadIdentity: a file is missing or no PEM, the key can be read by others or belongs to another
 * certificate, the certificate comes from none of the authorities, or names nobody or somebody of another kind than
 * `kind`, or than any of them.
 */
export async function readIdentity(
  dir: string,
  kind: Principal['kind'] | readonly Principal['kind'][],
): Promise<ReadIdentity> {
  const certificatePem = await readIdentityFile(dir, IDENTITY_FILES.certificate);
  const keyPem = await readIdentityFile(dir, IDENTITY_FILES.key);
  const authoritiesPem = await readIdentityFile(dir, IDENTITY_FILES.authorities);
  await checkKeyIsPrivate(join(dir, IDENTITY_FILES.key));

  const certificate = parseCertificate(certificatePem, join(dir, IDENTITY_FILES.certificate));
  const key = parseKey(keyPem, join(dir, IDENTITY_FILES.key));
  const authorities = [...authoritiesPem.matchAll(PEM_CERTIFICATE)].map(([pem]) =>
    parseCertificate(pem, join(dir, IDENTITY_FILES.authorities)),
  );

  if (!certificate.checkPrivateKey(key)) {
    throw bad(`the key ${join(dir, IDENTITY_FILES.key)} does not belong to the certificate beside it; make both anew`, {
      dir,
    });
  }
  if (!authorities.some((authority) => isIssuedBy(certificate, authority))) {
    throw bad(
      `the certificate ${join(dir, IDENTITY_FILES.certificate)} was issued by none of the authorities in ${IDENTITY_FILES.authorities} beside it (its issuer: ${oneLine(certificate.issuer)})`,
      { dir },
    );
  }
  const self = principalOf(certificate);
  const wanted = [kind].flat();
  if (!wanted.includes(self.kind)) {
    throw bad(
      `the certificate ${join(dir, IDENTITY_FILES.certificate)} is of ${self.kind} ${self.id}; ${wanted.map((one) => `${one === 'operator' ? 'an' : 'a'} ${one}'s`).join(' or ')} is needed here`,
      { dir, kind: self.kind, id: self.id },
    );
  }
  const identity = new X509Identity(self, certificatePem, keyPem, authoritiesPem);
  return { identity, ...validityOf(certificate) };
}

function validityOf({ validFromDate, validToDate }: X509Certificate): Omit<ReadIdentity, 'identity'> {
  return { validFrom: validFromDate, validTo: validToDate };
}

/**
 * Whom a certificate names: exactly one `URI:urn:kerbside:…` among its subject alternative names, and for a vehicle
 * exactly one organisation. Says nothing about who issued it.
 * @throws KerbError BadIdentity
 */
export function principalOf(certificate: X509Certificate): Principal {
  const named = alternativeNames(certificate)
    .filter(({ type, value }) => type === 'URI' && value.startsWith('urn:kerbside:'))
    .map(({ value }) => value);
  if (named.length !== 1) {
    throw bad(
      `a certificate needs exactly one urn:kerbside:vehicle:ID, …:broker:ID or …:operator:ID among its alternative names; this one (${oneLine(certificate.subject)}) has ${named.length}`,
    );
  }
  const found = parsePrincipalUrn(named[0]!);
  if (found === undefined) {
    throw bad(
      `the name ${JSON.stringify(named[0])} in a certificate is neither urn:kerbside:vehicle:ID nor …:broker:ID nor …:operator:ID`,
    );
  }
  const expiresAt = certificate.validToDate.getTime();
  if (found.kind !== 'vehicle') return { kind: found.kind, id: found.id, expiresAt };
  const tenant: unknown = certificate.toLegacyObject().subject.O;
  if (typeof tenant !== 'string' || !isTenant(tenant)) {
    throw bad(`the certificate of vehicle ${found.id} does not name exactly one organisation, its tenant`, {
      vehicle: found.id,
    });
  }
  return { kind: 'vehicle', id: found.id, tenant, expiresAt };
}

/**
 * The subject alternative names. Node writes them as `TYPE:value, TYPE:"quoted, as JSON"`, so that no value can pass for
 * two names.
 */
export function alternativeNames(certificate: X509Certificate): { type: string; value: string }[] {
  const names: { type: string; value: string }[] = [];
  for (const [, type, value] of (certificate.subjectAltName ?? '').matchAll(
    /(?:^|, )([A-Za-z ]+):("(?:[^"\\]|\\.)*"|[^,]*)/g,
  )) {
    names.push({ type: type!, value: value!.startsWith('"') ? String(JSON.parse(value!)) : value! });
  }
  return names;
}

/** The certificate in a PEM file. @throws KerbError BadIdentity */
export function parseCertificate(pem: string, path: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch (error) {
    const what = pem.includes('-----BEGIN CERTIFICATE-----')
      ? `a damaged certificate: ${messageOf(error)}`
      : 'no certificate in PEM form';
    throw bad(`${path} holds ${what}`, { path }, error);
  }
}

/** Issued and signed by this authority, and the authority may issue. */
export function isIssuedBy(certificate: X509Certificate, authority: X509Certificate): boolean {
  return authority.ca && certificate.checkIssued(authority) && certificate.verify(authority.publicKey);
}

class X509Identity implements Identity {
  readonly self: Principal;
  readonly #certificate: string;
  readonly #key: string;
  readonly #authorities: string;

  constructor(self: Principal, certificate: string, key: string, authorities: string) {
    this.self = self;
    this.#certificate = certificate;
    this.#key = key;
    this.#authorities = authorities;
  }

  serverOptions() {
    return { ...this.#context(), requestCert: true, rejectUnauthorized: true };
  }

  clientOptions(id: string | undefined, kind: 'broker' | 'vehicle' = 'broker') {
    return {
      ...this.#context(),
      rejectUnauthorized: true,
      // They are known by their URN, not by their address: a broker is met under whatever address the radio gives it.
      checkServerIdentity: (_host: string, peer: { raw: Buffer }): Error | undefined => {
        try {
          const found = principalOf(new X509Certificate(peer.raw));
          if (found.kind === kind && (id === undefined || found.id === id)) return undefined;
          const expected = id === undefined ? `a ${kind}` : principalUrn(kind, id);
          return bad(
            `the other end is ${principalUrn(found.kind, found.id)}, not ${expected}; check the ${kind}'s id and address`,
          );
        } catch (error) {
          return error instanceof Error ? error : bad(messageOf(error));
        }
      },
    };
  }

  peerOf(socket: TLSSocket): Principal {
    const certificate = socket.getPeerX509Certificate?.();
    if (certificate === undefined || !socket.authorized) {
      throw bad('the peer presented no certificate of a trusted authority');
    }
    checkValidity(validityOf(certificate), 'of the other end', new Date());
    return principalOf(certificate);
  }

  signingKey() {
    return { key: createPrivateKey(this.#key), certificate: new X509Certificate(this.#certificate).raw };
  }

  #context() {
    return {
      cert: this.#certificate,
      key: this.#key,
      ca: this.#authorities,
      minVersion: 'TLSv1.3',
      maxVersion: 'TLSv1.3',
    } as const;
  }
}

function checkValidity({ validFrom, validTo }: Omit<ReadIdentity, 'identity'>, where: string, now: Date): void {
  if (now > validTo) {
    throw bad(`the certificate ${where} has expired at ${validTo.toISOString()}; issue a new one`, { where });
  }
  if (now < validFrom) {
    throw bad(
      `the certificate ${where} is not valid before ${validFrom.toISOString()}; check the clock of this machine`,
      { where },
    );
  }
}

async function readIdentityFile(dir: string, name: string): Promise<string> {
  const path = join(dir, name);
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    const why = isErrno(error, 'ENOENT') ? 'is missing' : `cannot be read: ${readFault(error)}`;
    throw bad(
      `${path} ${why}; an identity is ${Object.values(IDENTITY_FILES).join(', ')}, made by \`kerb pki\``,
      { path },
      error,
    );
  }
}

async function checkKeyIsPrivate(path: string): Promise<void> {
  const mode = (await stat(path)).mode & 0o777;
  if ((mode & 0o077) === 0) return;
  throw bad(`the key ${path} can be read by others (mode ${mode.toString(8)}); run: chmod 600 ${path}`, { path });
}

function parseKey(pem: string, path: string): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch (error) {
    throw bad(`${path} is not a valid private key in PEM form: ${messageOf(error)}`, { path }, error);
  }
}

function oneLine(name: string | undefined): string {
  return (name ?? '').replaceAll('\n', ', ') || 'no name';
}

function bad(message: string, context: Record<string, unknown> = {}, cause?: unknown): KerbError {
  return new KerbError(ErrorCode.BadIdentity, message, context, cause === undefined ? undefined : { cause });
}
