import type { KeyObject } from 'node:crypto';
import type { ConnectionOptions, SecureContextOptions, TLSSocket, TlsOptions } from 'node:tls';
import { ErrorCode, KerbError } from '../base/errors.ts';
import { quoted } from '../base/quoted.ts';

/** Whom a certificate speaks for. */
export type Principal =
  | {
      readonly kind: 'vehicle';
      readonly id: string;
      /** Who pays for its offloads: the organisation in the certificate. */
      readonly tenant: string;
      /** The end of the certificate's validity, in milliseconds since 1970. */
      readonly expiresAt: number;
    }
  | { readonly kind: 'broker'; readonly id: string; readonly expiresAt: number }
  /** A person or a tool that OBUs may be told to obey over their control API. */
  | { readonly kind: 'operator'; readonly id: string; readonly expiresAt: number };

export type VehiclePrincipal = Extract<Principal, { kind: 'vehicle' }>;

/**
 * What a daemon shows to others and how it judges what others show. X.509 today; IEEE 1609.2 certificates, which TLS 1.3
 * can carry as well (RFC 8902), can take its place behind these four members.
 */
export interface Identity {
  readonly self: Principal;
  /** For the listening end. Asks for a certificate and refuses whoever has none of the same authority. */
  serverOptions(): SecureContextOptions & TlsOptions;
  /**
   * For the calling end. The handshake fails unless the other end is the broker, or what `kind` says, of this id;
   * undefined: any of this kind.
   */
  clientOptions(id: string | undefined, kind?: 'broker' | 'vehicle'): SecureContextOptions & ConnectionOptions;
  /**
   * Who is at the other end of a handshaken connection. Asked again later it judges anew, with the authorities and
   * revocations of this identity and by the clock: that is how connections are told apart that may stay after a renewal.
   * @throws KerbError BadIdentity when its certificate names nobody of Kerbside, has expired since, or its authority is
   * believed no more; CertificateRevoked
   */
  peerOf(socket: TLSSocket): Principal;
  /** What signs in its name apart from TLS, and the certificate (DER) that is shown with what is signed. */
  signingKey(): { readonly key: KeyObject; readonly certificate: Buffer };
}

const ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;
const TENANT = /^[\p{L}\p{N}][\p{L}\p{N} ._&+-]{0,63}$/u;
const URN = /^urn:kerbside:(vehicle|broker|operator):(.*)$/;

/** "urn:kerbside:vehicle:car-1" */
export function principalUrn(kind: Principal['kind'], id: string): string {
  return `urn:kerbside:${kind}:${id}`;
}

/** The reverse of principalUrn; undefined for any other text, also for an id outside the grammar. */
export function parsePrincipalUrn(urn: string): { kind: Principal['kind']; id: string } | undefined {
  const match = URN.exec(urn);
  if (match === null || !ID.test(match[2]!)) return undefined;
  return { kind: match[1] as Principal['kind'], id: match[2]! };
}

/** @throws KerbError BadIdentity unless `id` can stand in a URN, a file name and a metric label as it is. */
export function checkId(what: string, id: string): string {
  if (ID.test(id)) return id;
  throw new KerbError(
    ErrorCode.BadIdentity,
    `${what} ${quoted(id)} is not a valid id: it must be 1 to 63 letters, digits, dots, dashes or underscores, the first a letter or digit`,
    { id },
  );
}

export function isTenant(name: string): boolean {
  return TENANT.test(name);
}

/** @throws KerbError BadIdentity unless `name` can be the organisation of a certificate here. */
export function checkTenant(name: string): string {
  if (isTenant(name)) return name;
  throw new KerbError(
    ErrorCode.BadIdentity,
    `tenant ${quoted(name)} is not a valid name: it must be 1 to 64 letters, digits, spaces or . _ & + -, the first a letter or digit`,
    { tenant: name },
  );
}
