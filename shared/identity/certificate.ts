import { X509Certificate } from 'node:crypto';
// Node 24 (24.21): where `toLegacyObject` is called before this module is loaded, no TLS connection is ever begun after it.
import 'node:tls';
import { ErrorCode, KerbError, messageOf } from '../base/errors.ts';
import { quoted } from '../base/quoted.ts';
import { isTenant, type Principal, parsePrincipalUrn } from './identity.ts';

/** Outside of these a certificate is not believed by anybody whose clock is right. */
export interface Validity {
  readonly validFrom: Date;
  readonly validTo: Date;
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
    throw badIdentity(
      `a certificate needs exactly one urn:kerbside:vehicle:ID, …:broker:ID or …:operator:ID among its alternative names; this one (${oneLine(certificate.subject)}) has ${named.length}`,
    );
  }
  const found = parsePrincipalUrn(named[0]!);
  if (found === undefined) {
    throw badIdentity(
      `the name ${quoted(named[0]!)} in a certificate is neither urn:kerbside:vehicle:ID nor …:broker:ID nor …:operator:ID`,
    );
  }
  const expiresAt = certificate.validToDate.getTime();
  if (found.kind !== 'vehicle') return { kind: found.kind, id: found.id, expiresAt };
  const tenant: unknown = certificate.toLegacyObject().subject.O;
  if (typeof tenant !== 'string' || !isTenant(tenant)) {
    throw badIdentity(`the certificate of vehicle ${found.id} does not name exactly one organisation, its tenant`, {
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
    throw badIdentity(`${path} holds ${what}`, { path }, error);
  }
}

/** Issued and signed by this authority, and the authority may issue. */
export function isIssuedBy(certificate: X509Certificate, authority: X509Certificate): boolean {
  return authority.ca && certificate.checkIssued(authority) && certificate.verify(authority.publicKey);
}

export function validityOf({ validFromDate, validToDate }: X509Certificate): Validity {
  return { validFrom: validFromDate, validTo: validToDate };
}

/** @throws KerbError BadIdentity */
export function checkValidity({ validFrom, validTo }: Validity, where: string, now: Date): void {
  if (now > validTo) {
    throw badIdentity(`the certificate ${where} has expired at ${validTo.toISOString()}; issue a new one`, { where });
  }
  if (now < validFrom) {
    throw badIdentity(
      `the certificate ${where} is not valid before ${validFrom.toISOString()}; check the clock of this machine`,
      { where },
    );
  }
}

/** A name of a certificate, as one line. */
export function oneLine(name: string | undefined): string {
  return (name ?? '').replaceAll('\n', ', ') || 'no name';
}

export function badIdentity(message: string, context: Record<string, unknown> = {}, cause?: unknown): KerbError {
  return new KerbError(ErrorCode.BadIdentity, message, context, cause === undefined ? undefined : { cause });
}
