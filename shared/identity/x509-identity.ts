import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { ErrorCode, isErrno, KerbError, messageOf } from '../base/errors.ts';
import { readFault } from '../host/read-fault.ts';
import {
  badIdentity,
  checkValidity,
  isIssuedBy,
  oneLine,
  parseCertificate,
  principalOf,
  type Validity,
  validityOf,
} from './certificate.ts';
import { type Identity, type Principal, principalUrn } from './identity.ts';
import { Revocations, readRevocations } from './revocations.ts';

/** The files that every identity directory has, all PEM. */
export const IDENTITY_FILES = {
  /** The certificate of this daemon. */
  certificate: 'certificate.pem',
  /** Its private key, PKCS #8, readable by its owner only. */
  key: 'key.pem',
  /** The authorities that are believed, one or more. One of them has issued the certificate. */
  authorities: 'ca.pem',
} as const;

/** May be beside them: what the authorities have revoked, one list or more, PEM. */
export const REVOCATIONS_FILE = 'crl.pem';

const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g;

/** What an identity directory holds, whether or not it is the time for it. */
export interface ReadIdentity extends Validity {
  readonly identity: Identity;
  /** Whether there is a revocation list, and until when the oldest of them is meant to be used. */
  readonly hasRevocations: boolean;
  readonly revocationsUntil: Date | undefined;
}

/**
 * Reads and checks an identity directory.
 * @throws KerbError as `readIdentity`, and BadIdentity when the certificate or a revocation list is outside its validity
 */
export async function loadIdentity(
  dir: string,
  kind: Principal['kind'] | readonly Principal['kind'][],
  now: Date = new Date(),
): Promise<Identity> {
  const read = await readIdentity(dir, kind);
  checkValidity(read, join(dir, IDENTITY_FILES.certificate), now);
  const stale = staleRevocations(read, dir, now);
  if (stale !== '') throw badIdentity(stale, { dir });
  return read.identity;
}

/** A sentence when a revocation list should have been replaced by `now`; else empty. */
export function staleRevocations(
  { revocationsUntil }: Pick<ReadIdentity, 'revocationsUntil'>,
  dir: string,
  now: Date,
): string {
  if (revocationsUntil === undefined || now <= revocationsUntil) return '';
  return `the revocation list ${join(dir, REVOCATIONS_FILE)} was to be replaced by ${revocationsUntil.toISOString()}; make a new one with kerb pki revoke --ca CA --out ${join(dir, REVOCATIONS_FILE)}`;
}

/**
 * Reads an identity directory and checks all but the time.
 * @throws KerbError BadIdentity: a file is missing or no PEM, the key can be read by others or belongs to another
 * certificate, the certificate comes from none of the authorities, or names nobody or somebody of another kind than
 * `kind`, or than any of them; a revocation list is damaged, or of none of the authorities.
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
    throw badIdentity(
      `the key ${join(dir, IDENTITY_FILES.key)} does not belong to the certificate beside it; make both anew`,
      {
        dir,
      },
    );
  }
  if (!authorities.some((authority) => isIssuedBy(certificate, authority))) {
    throw badIdentity(
      `the certificate ${join(dir, IDENTITY_FILES.certificate)} was issued by none of the authorities in ${IDENTITY_FILES.authorities} beside it (its issuer: ${oneLine(certificate.issuer)})`,
      { dir },
    );
  }
  const self = principalOf(certificate);
  const wanted = [kind].flat();
  if (!wanted.includes(self.kind)) {
    throw badIdentity(
      `the certificate ${join(dir, IDENTITY_FILES.certificate)} is of ${self.kind} ${self.id}; ${wanted.map((one) => `${one === 'operator' ? 'an' : 'a'} ${one}'s`).join(' or ')} is needed here`,
      { dir, kind: self.kind, id: self.id },
    );
  }
  const revocations = await revocationsOf(dir, authorities);
  const pems = { certificate: certificatePem, key: keyPem, authorities: authoritiesPem };
  return {
    identity: new X509Identity(self, pems, authorities, revocations),
    ...validityOf(certificate),
    hasRevocations: !revocations.isEmpty,
    revocationsUntil: revocations.goodUntil,
  };
}

async function revocationsOf(dir: string, authorities: readonly X509Certificate[]): Promise<Revocations> {
  const path = join(dir, REVOCATIONS_FILE);
  let pem: string;
  try {
    pem = await readFile(path, 'utf8');
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return new Revocations();
    throw badIdentity(`${path} cannot be read: ${readFault(error)}`, { path }, error);
  }
  return readRevocations(pem, authorities, path);
}

/** As files of an identity directory hold them. */
interface Pems {
  readonly certificate: string;
  readonly key: string;
  readonly authorities: string;
}

/** Authorities between a certificate and one that is believed. */
const MAX_CHAIN = 4;

class X509Identity implements Identity {
  readonly self: Principal;
  readonly #pems: Pems;
  readonly #authorities: readonly X509Certificate[];
  readonly #revocations: Revocations;

  constructor(self: Principal, pems: Pems, authorities: readonly X509Certificate[], revocations: Revocations) {
    this.self = self;
    this.#pems = pems;
    this.#authorities = authorities;
    this.#revocations = revocations;
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
          const certificate = new X509Certificate(peer.raw);
          const found = principalOf(certificate);
          if (found.kind !== kind || (id !== undefined && found.id !== id)) {
            const expected = id === undefined ? `a ${kind}` : principalUrn(kind, id);
            return badIdentity(
              `the other end is ${principalUrn(found.kind, found.id)}, not ${expected}; check the ${kind}'s id and address`,
            );
          }
          // TLS has checked the way to an authority already, and knows nothing of what is revoked.
          for (const authority of this.#authorities) this.#refuseRevoked(certificate, authority);
          return undefined;
        } catch (error) {
          return error instanceof Error ? error : badIdentity(messageOf(error));
        }
      },
    };
  }

  peerOf(socket: TLSSocket): Principal {
    const certificate = socket.getPeerX509Certificate?.();
    if (certificate === undefined || !socket.authorized) {
      throw badIdentity('the peer presented no certificate of a trusted authority');
    }
    return this.#judge(certificate);
  }

  principalOf(certificate: Uint8Array | X509Certificate): Principal {
    if (certificate instanceof X509Certificate) return this.#judge(certificate);
    let parsed: X509Certificate;
    try {
      parsed = new X509Certificate(certificate);
    } catch (error) {
      throw badIdentity(`a certificate that was shown cannot be read: ${messageOf(error)}`, {}, error);
    }
    return this.#judge(parsed);
  }

  #judge(certificate: X509Certificate): Principal {
    const now = new Date();
    checkValidity(validityOf(certificate), 'of the other end', now);
    this.#checkIssuers(certificate, now);
    return principalOf(certificate);
  }

  signingKey() {
    const { certificate, key } = this.#pems;
    return { key: createPrivateKey(key), certificate: new X509Certificate(certificate).raw };
  }

  /** The TLS library has done so in the handshake; since then authorities may have gone and certificates been revoked. */
  #checkIssuers(peer: X509Certificate, now: Date): void {
    let certificate = peer;
    for (let length = 0; length < MAX_CHAIN; length++) {
      const believed = this.#authorities.filter(
        (authority) => authority.validToDate >= now && isIssuedBy(certificate, authority),
      );
      for (const authority of believed) this.#refuseRevoked(certificate, authority);
      if (believed.length > 0) return;
      const issuer = certificate.issuerCertificate;
      if (issuer === undefined || issuer.validToDate < now || !isIssuedBy(certificate, issuer)) break;
      certificate = issuer;
    }
    throw badIdentity('the certificate of the other end comes from an authority that is not trusted here');
  }

  #refuseRevoked(certificate: X509Certificate, authority: X509Certificate): void {
    if (!certificate.checkIssued(authority) || !this.#revocations.has(certificate, authority)) return;
    throw new KerbError(
      ErrorCode.CertificateRevoked,
      `the certificate ${certificate.serialNumber} of the other end was revoked by its authority; a new one is needed`,
      { serial: certificate.serialNumber },
    );
  }

  #context() {
    const { certificate, key, authorities } = this.#pems;
    return { cert: certificate, key, ca: authorities, minVersion: 'TLSv1.3', maxVersion: 'TLSv1.3' } as const;
  }
}

async function readIdentityFile(dir: string, name: string): Promise<string> {
  const path = join(dir, name);
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    const why = isErrno(error, 'ENOENT') ? 'is missing' : `cannot be read: ${readFault(error)}`;
    throw badIdentity(
      `${path} ${why}; an identity is ${Object.values(IDENTITY_FILES).join(', ')}, made by \`kerb pki\``,
      { path },
      error,
    );
  }
}

async function checkKeyIsPrivate(path: string): Promise<void> {
  const mode = (await stat(path)).mode & 0o777;
  if ((mode & 0o077) === 0) return;
  throw badIdentity(`the key ${path} can be read by others (mode ${mode.toString(8)}); run: chmod 600 ${path}`, {
    path,
  });
}

function parseKey(pem: string, path: string): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch (error) {
    throw badIdentity(`${path} is not a valid private key in PEM form: ${messageOf(error)}`, { path }, error);
  }
}
