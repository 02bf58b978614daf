/**
 * The announcement of a broker, as bytes (docs/protocol/announcements.md):
 *
 *     bytes 0–2  "KBA"
 *     byte 3     version of this layout: 1
 *     bytes 4–5  length of the signed part
 *     byte 6     length of the signature
 *     then       the signed part, an encoded BrokerAnnouncement; the signature; the load: queue in ms (4), free tenders (2)
 *
 * Numbers are big endian. The load changes with every announcement and is not signed. What follows it is left alone.
 */
import { isIPv6 } from 'node:net';
import { isId } from '../identity/identity.ts';
import { kerbside } from '../protocol/generated/v2e.js';

const { BrokerAnnouncement } = kerbside.v2e;

/** Bytes of one announcement: it fits into any frame of any radio. */
export const MAX_ANNOUNCEMENT = 400;
const MAGIC = 'KBA';
const LAYOUT = 1;
const HEAD = 7;
const LOAD = 6;
const MAX_QUEUE_MS = 2 ** 32 - 1;
const MAX_FREE = 65_535;
const MAX_SIGNATURE = 255;
const HASH = 32;
const TASKS_HASH = 16;
const MAX_LIST = 16;

export const BROKER_KINDS = ['roadside', 'cell', 'cloud', 'vehicle'] as const;
export type BrokerKind = (typeof BROKER_KINDS)[number];

/** The facts about a broker, as it has signed them. */
export interface AnnouncedFacts {
  readonly broker: string;
  /** When its process started, in milliseconds since 1970, and how often this one has signed. */
  readonly instance: number;
  readonly changes: number;
  /** Milliseconds since 1970, on its clock. */
  readonly issuedAt: number;
  /** The address where vehicles connect; host empty: at the address that the announcement comes from. */
  readonly host: string;
  readonly port: number;
  readonly kind: BrokerKind;
  /** Degrees, WGS 84; undefined: it does not say. */
  readonly position: { readonly latitude: number; readonly longitude: number } | undefined;
  /** Metres; 0: it does not say. */
  readonly rangeM: number;
  /** Lowercase hexadecimal, 32 digits; empty: it does not say. */
  readonly tasksHash: string;
  readonly isolations: readonly string[];
  /** Ids of brokers. */
  readonly neighbours: readonly string[];
  /** Lowercase hexadecimal SHA-256 of its certificate. */
  readonly certificateHash: string;
}

/** How busy a broker is, when it says so. */
export interface AnnouncedLoad {
  /** How long a small offload would wait, in milliseconds. */
  readonly queueMs: number;
  readonly freeTenders: number;
}

export interface Announcement {
  readonly facts: AnnouncedFacts;
  /** As they were signed. */
  readonly signed: Buffer;
  readonly signature: Buffer;
  readonly load: AnnouncedLoad;
}

/** Encodes what is signed. Neighbours that there is no room for are left out. */
export function encodeFacts(facts: AnnouncedFacts): Buffer {
  const room = MAX_ANNOUNCEMENT - HEAD - LOAD - 72;
  for (let neighbours = facts.neighbours.slice(0, MAX_LIST); ; neighbours = neighbours.slice(0, -1)) {
    const { position, tasksHash, certificateHash, ...rest } = facts;
    const message = {
      ...rest,
      neighbours: [...neighbours],
      isolations: [...facts.isolations],
      ...(position && { position }),
      tasksHash: Buffer.from(tasksHash, 'hex'),
      certificateSha256: Buffer.from(certificateHash, 'hex'),
    };
    const bytes = Buffer.from(BrokerAnnouncement.encode(message).finish());
    if (bytes.length <= room || neighbours.length === 0) return bytes;
  }
}

/** @throws Error when it would be longer than an announcement may be */
export function encodeAnnouncement(signed: Uint8Array, signature: Uint8Array, load: AnnouncedLoad): Buffer {
  const size = HEAD + signed.length + signature.length + LOAD;
  if (size > MAX_ANNOUNCEMENT || signature.length > MAX_SIGNATURE) {
    throw new Error(
      `the announcement would have ${size} bytes, and may have ${MAX_ANNOUNCEMENT}; use shorter names or another key`,
    );
  }
  const bytes = Buffer.alloc(size);
  bytes.write(MAGIC, 0, 'latin1');
  bytes[3] = LAYOUT;
  bytes.writeUInt16BE(signed.length, 4);
  bytes[6] = signature.length;
  bytes.set(signed, HEAD);
  bytes.set(signature, HEAD + signed.length);
  const at = HEAD + signed.length + signature.length;
  bytes.writeUInt32BE(atMost(load.queueMs, MAX_QUEUE_MS), at);
  bytes.writeUInt16BE(atMost(load.freeTenders, MAX_FREE), at + 4);
  return bytes;
}

/**
 * Reads what came, which may be anything. Says nothing about who has sent it.
 * @throws Error with a sentence when it is not an announcement of this version
 */
export function decodeAnnouncement(bytes: Uint8Array): Announcement {
  if (bytes.length > MAX_ANNOUNCEMENT) throw new Error(`it is longer than ${MAX_ANNOUNCEMENT} bytes`);
  // A copy: the bytes of the caller may be part of a larger piece of memory, and what is made of these is kept.
  const all = Buffer.from(bytes);
  if (all.length < HEAD || all.toString('latin1', 0, 3) !== MAGIC) throw new Error('it is not an announcement');
  if (all[3] !== LAYOUT) throw new Error(`its version is ${all[3]}, and this is version ${LAYOUT}`);
  const signatureAt = HEAD + all.readUInt16BE(4);
  const loadAt = signatureAt + all[6]!;
  if (loadAt + LOAD > all.length) throw new Error('it is cut off');
  const signed = all.subarray(HEAD, signatureAt);
  return {
    facts: decodeFacts(signed),
    signed,
    signature: all.subarray(signatureAt, loadAt),
    load: { queueMs: all.readUInt32BE(loadAt), freeTenders: all.readUInt16BE(loadAt + 4) },
  };
}

function decodeFacts(signed: Uint8Array): AnnouncedFacts {
  let raw: kerbside.v2e.BrokerAnnouncement;
  try {
    raw = BrokerAnnouncement.decode(signed);
  } catch {
    throw new Error('its signed part cannot be read');
  }
  const { broker, host, port, kind, position, rangeM, isolations, neighbours } = raw;
  if (!isId(broker)) throw new Error('its broker is not a valid id');
  const [instance, changes, issuedAt] = [raw.instance, raw.changes, raw.issuedAt].map(Number);
  if (![instance, issuedAt].every((time) => Number.isSafeInteger(time))) throw new Error('its times are not valid');
  if (host !== '' && !isHost(host)) throw new Error('its host is not valid');
  if (port < 1 || port > 65_535) throw new Error('its port is not valid');
  if (!isKind(kind)) throw new Error('its kind is not known');
  if (position != null && !isPosition(position)) throw new Error('its position is not valid');
  if (isolations.length > MAX_LIST || !isolations.every((one) => /^[a-z]{1,16}$/.test(one))) {
    throw new Error('its isolations are not valid');
  }
  if (neighbours.length > MAX_LIST || !neighbours.every(isId)) throw new Error('its neighbours are not valid');
  if (raw.certificateSha256.length !== HASH) throw new Error('it does not name its certificate');
  if (![0, TASKS_HASH].includes(raw.tasksHash.length)) throw new Error('its hash of tasks is not valid');
  return {
    ...{ broker, host, port, kind, rangeM, isolations, neighbours },
    ...{ instance: instance!, changes: changes!, issuedAt: issuedAt! },
    position: position == null ? undefined : { latitude: position.latitude!, longitude: position.longitude! },
    tasksHash: Buffer.from(raw.tasksHash).toString('hex'),
    certificateHash: Buffer.from(raw.certificateSha256).toString('hex'),
  };
}

export function isKind(text: string): text is BrokerKind {
  return (BROKER_KINDS as readonly string[]).includes(text);
}

/** An IP address, or a name as in DNS. */
export function isHost(text: string): boolean {
  return /^(?=.{1,100}$)[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$/.test(text) || isIPv6(text);
}

function isPosition({ latitude, longitude }: { latitude?: number | null; longitude?: number | null }): boolean {
  const within = (value: number | null | undefined, most: number) => value != null && Math.abs(value) <= most;
  return within(latitude, 90) && within(longitude, 180);
}

function atMost(value: number, most: number): number {
  return Number.isFinite(value) ? Math.min(most, Math.max(0, Math.round(value))) : most;
}
