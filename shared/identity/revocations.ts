/** Revocation lists (RFC 5280, 5): which certificates of an authority are good no more, although their time is not over. */
import { verify, type X509Certificate } from 'node:crypto';
import { ErrorCode, KerbError, messageOf } from '../base/errors.ts';
import { DER, type DerValue, derObjectId, derSerial, derTime, expectTag, readDer, readOneDer } from './der.ts';

const PEM_LIST = /-----BEGIN X509 CRL-----([\s\S]*?)-----END X509 CRL-----/g;

/** Hashes by the object identifier of the signature algorithm; null: the algorithm has its own. */
const SIGNATURES: Readonly<Record<string, string | null>> = {
  '1.2.840.10045.4.3.2': 'sha256',
  '1.2.840.10045.4.3.3': 'sha384',
  '1.2.840.10045.4.3.4': 'sha512',
  '1.2.840.113549.1.1.11': 'sha256',
  '1.2.840.113549.1.1.12': 'sha384',
  '1.2.840.113549.1.1.13': 'sha512',
  '1.3.101.112': null,
};
const REMOVE_FROM_LIST = 8;

/** One list, as it was signed. */
export interface RevocationList {
  /** Of the certificates that are revoked, as `X509Certificate.serialNumber` has them, and since when. */
  readonly serials: ReadonlyMap<string, Date>;
  readonly issuedAt: Date;
  /** From then on there should be a newer one. */
  readonly nextAt: Date;
}

/** What has been revoked by the authorities that are believed. */
export class Revocations {
  /** By the fingerprint of the public key of the authority. */
  readonly #lists: ReadonlyMap<string, RevocationList>;

  constructor(lists: ReadonlyMap<string, RevocationList> = new Map()) {
    this.#lists = lists;
  }

  get isEmpty(): boolean {
    return this.#lists.size === 0;
  }

  /** When the first of the lists is too old; undefined: there is none. */
  get goodUntil(): Date | undefined {
    const ends = [...this.#lists.values()].map(({ nextAt }) => nextAt.getTime());
    return ends.length === 0 ? undefined : new Date(Math.min(...ends));
  }

  /** All of all lists, and since when they are revoked. */
  serials(): Map<string, Date> {
    return new Map([...this.#lists.values()].flatMap(({ serials }) => [...serials]));
  }

  /** True when there is a list of this authority. */
  covers(authority: X509Certificate): boolean {
    return this.#lists.has(keyOf(authority));
  }

  /** Since when it is revoked; undefined: it is not. @param authority that has issued it */
  since(certificate: X509Certificate, authority: X509Certificate): Date | undefined {
    return this.#lists.get(keyOf(authority))?.serials.get(certificate.serialNumber);
  }

  /** @param authority that has issued it */
  has(certificate: X509Certificate, authority: X509Certificate): boolean {
    return this.#lists.get(keyOf(authority))?.serials.has(certificate.serialNumber) ?? false;
  }
}

/**
 * Reads the lists in a PEM file and checks who signed them. Of two lists of one authority the newer one counts.
 * @throws KerbError BadIdentity: a list is damaged, or comes from none of the authorities
 */
export function readRevocations(pem: string, authorities: readonly X509Certificate[], path: string): Revocations {
  const found = [...pem.matchAll(PEM_LIST)].map(([, base64]) => Buffer.from(base64!, 'base64'));
  if (found.length === 0) throw bad(`${path} holds no revocation list in PEM form`, path);
  const lists = new Map<string, RevocationList>();
  for (const der of found) {
    let parsed: ParsedList;
    try {
      parsed = parseList(der);
    } catch (error) {
      throw bad(`${path} holds a damaged revocation list: ${messageOf(error)}`, path, error);
    }
    const authority = authorities.find((one) => isSignedBy(parsed, one));
    if (authority === undefined) {
      throw bad(`${path} holds a revocation list that none of the authorities that are trusted here has signed`, path);
    }
    const key = keyOf(authority);
    const before = lists.get(key);
    if (before === undefined || before.issuedAt < parsed.issuedAt) lists.set(key, parsed);
  }
  return new Revocations(lists);
}

interface ParsedList extends RevocationList {
  /** What is signed. */
  readonly body: Buffer;
  readonly algorithm: string;
  readonly signature: Buffer;
}

function parseList(der: Buffer): ParsedList {
  const [body, algorithm, signature] = readDer(readOneDer(der, DER.sequence).content);
  const fields = readDer(expectTag(body, DER.sequence).content);
  // The version is there as soon as there are extensions.
  if (fields[0]?.tag === DER.integer) fields.shift();
  const [inner, issuer, issuedAt, ...rest] = fields;
  expectTag(issuer, DER.sequence);
  if (issuedAt === undefined) throw new Error('it says no time');
  const next = rest[0]?.tag === DER.utcTime || rest[0]?.tag === DER.generalizedTime ? rest.shift() : undefined;
  if (next === undefined) throw new Error('it does not say when the next one is due');
  const revoked = rest[0]?.tag === DER.sequence ? rest.shift() : undefined;
  const extensions = rest[0]?.tag === DER.context0 ? rest.shift() : undefined;
  if (rest.length > 0) throw new Error('it goes on after its end');
  // A part of a list, or one that is about something else than all certificates of its issuer, is marked as critical.
  if (extensions !== undefined) refuseCritical(readOneDer(extensions.content, DER.sequence).content);
  const outer = expectTag(algorithm, DER.sequence);
  if (!outer.whole.equals(expectTag(inner, DER.sequence).whole)) throw new Error('it names two signature algorithms');
  const bits = expectTag(signature, DER.bitString).content;
  if (bits[0] !== 0) throw new Error('its signature is not whole bytes');
  return {
    serials: new Map(revoked === undefined ? [] : readDer(revoked.content).flatMap(entryOf)),
    issuedAt: derTime(issuedAt),
    nextAt: derTime(next),
    body: body!.whole,
    algorithm: derObjectId(expectTag(readDer(outer.content)[0], DER.objectId)),
    signature: bits.subarray(1),
  };
}

function entryOf(entry: DerValue): [string, Date][] {
  const [serial, since, extensions] = readDer(expectTag(entry, DER.sequence).content);
  if (since === undefined) throw new Error('an entry says no time');
  if (extensions !== undefined) {
    for (const { id, value } of extensionsOf(extensions.content)) {
      // 2.5.29.21: the reason.
      if (id === '2.5.29.21' && value.at(-1) === REMOVE_FROM_LIST) return [];
    }
    refuseCritical(extensions.content);
  }
  return [[derSerial(expectTag(serial, DER.integer)), derTime(since)]];
}

function extensionsOf(bytes: Buffer): { id: string; critical: boolean; value: Buffer }[] {
  return readDer(bytes).map((extension) => {
    const [id, ...rest] = readDer(expectTag(extension, DER.sequence).content);
    const value = expectTag(rest.at(-1), DER.octetString).content;
    return {
      id: derObjectId(expectTag(id, DER.objectId)),
      critical: rest.length === 2 && rest[0]!.content[0] !== 0,
      value,
    };
  });
}

function refuseCritical(bytes: Buffer): void {
  const unknown = extensionsOf(bytes).find(({ critical }) => critical);
  if (unknown !== undefined) throw new Error(`it demands an extension that is not known here: ${unknown.id}`);
}

function isSignedBy({ body, algorithm, signature }: ParsedList, authority: X509Certificate): boolean {
  const hash = SIGNATURES[algorithm];
  if (hash === undefined || !authority.ca) return false;
  try {
    return verify(hash, body, authority.publicKey, signature);
  } catch {
    // A key of another kind than the signature.
    return false;
  }
}

/** The same for two certificates of one authority, which is renewed with its key. */
function keyOf(authority: X509Certificate): string {
  return authority.publicKey.export({ format: 'der', type: 'spki' }).toString('base64');
}

function bad(message: string, path: string, cause?: unknown): KerbError {
  return new KerbError(ErrorCode.BadIdentity, message, { path }, cause === undefined ? undefined : { cause });
}
