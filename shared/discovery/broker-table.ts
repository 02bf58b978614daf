/**
 * The brokers that were heard of, bounded whatever comes. One whose announcement was verified is never pushed out by one
 * that was not: those have room of their own, a few for each address.
 *
 * Hot path: an announcement that says what the last one of its broker said costs a comparison and no cryptography.
 */
import { messageOf } from '../base/errors.ts';
import type { Identity } from '../identity/identity.ts';
import { type AnnouncedFacts, type Announcement, decodeAnnouncement } from './announcement.ts';
import {
  conflicts,
  type Entry,
  type FoundBroker,
  hintKeyOf,
  isSame,
  isSameOwner,
  keyOf,
  LIVE_MS,
  NOT_SEEN,
  shown,
  WINDOW_MS,
} from './found-broker.ts';
import { Rate } from './rate.ts';
import { certificateHashOf, faultOf } from './signature.ts';

const MAX_VERIFIED = 1024;
const MAX_HINTS = 256;
const MAX_HINTS_OF_ONE = 8;
const MAX_CERTIFICATES = 2048;
const MAX_SENDERS = 1024;
/** Signatures that are looked at: of one address, and of all of them. */
const CHECKS = { perSecond: 10, most: 20 };
const ALL_CHECKS = { perSecond: 200, most: 400 };

/** Datagrams that have come in, by what became of it. */
export interface DiscoveryCounts {
  heard: number;
  malformed: number;
  /** Its signature is not of the certificate that it names. */
  forged: number;
  /** It had been said before what is known now, or too long ago. */
  replayed: number;
  /** There was no time to look at its signature. */
  limited: number;
}

export class BrokerTable {
  readonly counts: DiscoveryCounts = { heard: 0, malformed: 0, forged: 0, replayed: 0, limited: 0 };
  readonly #identity: () => Identity | undefined;
  readonly #wallMs: () => number;
  /** By broker, certificate and instance. */
  readonly #verified = new Map<string, Entry>();
  /** By address, broker and certificate; the one that was heard last is the last one. */
  readonly #hints = new Map<string, Entry>();
  /** Their keys by address, likewise. */
  readonly #hintsOf = new Map<string, Set<string>>();
  /** Certificates of brokers that `identity` believes, in DER, by their SHA-256. */
  readonly #certificates = new Map<string, Buffer>();
  readonly #senders = new Map<string, Rate>();
  #all: Rate | undefined;

  /** @param identity whose authorities are believed; undefined: nothing can be verified */
  constructor(identity: () => Identity | undefined, wallMs: () => number = Date.now) {
    this.#identity = identity;
    this.#wallMs = wallMs;
  }

  /** Takes a datagram, which may be anything. @param now of one monotonic clock, in milliseconds */
  hear(datagram: Uint8Array, from: string, now: number): void {
    this.counts.heard++;
    let announcement: Announcement;
    try {
      announcement = decodeAnnouncement(datagram);
    } catch {
      this.counts.malformed++;
      return;
    }
    const heard: Entry = {
      announcement,
      datagram: Buffer.from(datagram),
      from,
      firstAt: now,
      heardAt: now,
      reason: '',
    };
    const known = this.#verified.get(keyOf(announcement.facts));
    if (known !== undefined && isSame(known.announcement, announcement)) {
      this.#refresh(known, heard);
      return;
    }
    const certificate = this.#certificates.get(announcement.facts.certificateHash);
    if (certificate === undefined) {
      this.#hint(heard, '');
      return;
    }
    if (!this.#mayCheck(from, now)) {
      this.counts.limited++;
      return;
    }
    this.#verify(heard, certificate);
  }

  /**
   * A certificate was shown, by whomever: what was heard before is held against it.
   * @param certificate DER
   * @returns why it is not believed; empty: it is
   */
  show(certificate: Uint8Array): string {
    const identity = this.#identity();
    if (identity === undefined) return 'there is no identity whose authorities could be asked';
    const hash = certificateHashOf(certificate);
    try {
      const { kind, id } = identity.principalOf(certificate);
      if (kind !== 'broker') return `the certificate is of ${kind} ${id}`;
    } catch (error) {
      return messageOf(error);
    }
    if (!this.#certificates.has(hash)) {
      trim(this.#certificates, MAX_CERTIFICATES - 1);
      this.#certificates.set(hash, Buffer.from(certificate));
    }
    for (const [key, entry] of [...this.#hints]) {
      if (entry.announcement.facts.certificateHash !== hash) continue;
      this.#dropHint(key);
      this.#verify(entry, this.#certificates.get(hash)!);
    }
    return '';
  }

  /** A broker could not be verified: says why, for as long as it is heard. */
  fail(found: FoundBroker, reason: string): void {
    const entry = this.#hints.get(hintKeyOf(found.from, found.facts));
    if (entry !== undefined) entry.reason = reason;
  }

  /** Other authorities or revocations count from now on: what they do not believe is only a hint again. */
  review(): void {
    const identity = this.#identity();
    for (const [hash, certificate] of this.#certificates) {
      try {
        if (identity?.principalOf(certificate).kind === 'broker') continue;
      } catch {
        // It has expired, or was revoked.
      }
      this.#certificates.delete(hash);
    }
    for (const [key, entry] of this.#verified) {
      if (this.#certificates.has(entry.announcement.facts.certificateHash)) continue;
      this.#verified.delete(key);
      this.#hint(entry, 'its certificate is not trusted any more');
    }
  }

  /** Those that are there now, by id. */
  list(now: number): FoundBroker[] {
    const live = [...this.#verified.values()].filter(({ heardAt }) => now - heardAt <= LIVE_MS);
    const all = live.map((entry) =>
      shown(
        entry,
        now,
        live.some((other) => conflicts(entry, other)),
      ),
    );
    for (const [key, entry] of this.#hints) {
      if (now - entry.heardAt > LIVE_MS) this.#dropHint(key);
      else all.push({ ...shown(entry, now, false), state: 'unverified', reason: entry.reason || NOT_SEEN });
    }
    return all.sort((a, b) => (a.broker < b.broker ? -1 : a.broker > b.broker ? 1 : a.from < b.from ? -1 : 1));
  }

  /** The verified announcements, to be handed on: as they came, each with its certificate. */
  heard(now: number): { facts: AnnouncedFacts; datagram: Buffer; certificate: Buffer; ageMs: number; from: string }[] {
    return [...this.#verified.values()]
      .filter(({ heardAt }) => now - heardAt <= LIVE_MS)
      .map(({ datagram, announcement, heardAt, from }) => {
        const { facts } = announcement;
        const certificate = this.#certificates.get(facts.certificateHash)!;
        return { facts, datagram, certificate, ageMs: now - heardAt, from };
      });
  }

  get size(): number {
    return this.#verified.size + this.#hints.size;
  }

  #verify(heard: Entry, certificate: Buffer): void {
    const { facts } = heard.announcement;
    const identity = this.#identity();
    const fault = identity === undefined ? NOT_SEEN : faultOf(heard.announcement, certificate, identity);
    if (fault !== '') {
      this.counts.forged++;
      return;
    }
    if (Math.abs(this.#wallMs() - facts.issuedAt) > WINDOW_MS || this.#isOld(facts)) {
      this.counts.replayed++;
      return;
    }
    for (const [key, { announcement }] of this.#verified) {
      const other = announcement.facts;
      // Its process was started again: what the older one had signed by then is history.
      if (isSameOwner(other, facts) && other.instance < facts.instance && other.issuedAt <= facts.instance) {
        this.#verified.delete(key);
      }
    }
    const before = this.#verified.get(keyOf(facts));
    if (this.#verified.size >= MAX_VERIFIED && before === undefined) this.#dropOldest();
    this.#verified.set(keyOf(facts), { ...heard, firstAt: before?.firstAt ?? heard.heardAt });
  }

  #isOld(facts: AnnouncedFacts): boolean {
    const same = this.#verified.get(keyOf(facts))?.announcement.facts;
    if (same !== undefined) return facts.changes <= same.changes;
    for (const { announcement } of this.#verified.values()) {
      const other = announcement.facts;
      if (isSameOwner(other, facts) && facts.instance < other.instance && facts.issuedAt <= other.instance) return true;
    }
    return false;
  }

  #refresh(known: Entry, heard: Entry): void {
    // A recording that is sent again from elsewhere does not become the broker's address.
    if (known.from !== heard.from && heard.heardAt - known.heardAt < LIVE_MS) return;
    known.from = heard.from;
    known.heardAt = Math.max(known.heardAt, heard.heardAt);
    known.announcement = heard.announcement;
    known.datagram = heard.datagram;
  }

  #hint(heard: Entry, reason: string): void {
    const key = hintKeyOf(heard.from, heard.announcement.facts);
    const before = this.#hints.get(key);
    this.#dropHint(key);
    const [oldestOfSender] = this.#hintsOf.get(heard.from) ?? [];
    if ((this.#hintsOf.get(heard.from)?.size ?? 0) >= MAX_HINTS_OF_ONE) this.#dropHint(oldestOfSender!);
    if (this.#hints.size >= MAX_HINTS) this.#dropHint(this.#hints.keys().next().value!);
    const ofSender = this.#hintsOf.get(heard.from) ?? new Set<string>();
    this.#hintsOf.set(heard.from, ofSender.add(key));
    this.#hints.set(key, { ...heard, reason: reason || (before?.reason ?? '') });
  }

  #dropHint(key: string): void {
    const from = this.#hints.get(key)?.from;
    if (from === undefined) return;
    this.#hints.delete(key);
    const ofSender = this.#hintsOf.get(from);
    ofSender?.delete(key);
    if (ofSender?.size === 0) this.#hintsOf.delete(from);
  }

  #mayCheck(from: string, now: number): boolean {
    let sender = this.#senders.get(from);
    if (sender === undefined) {
      trim(this.#senders, MAX_SENDERS - 1);
      sender = new Rate(CHECKS, now);
      this.#senders.set(from, sender);
    }
    this.#all ??= new Rate(ALL_CHECKS, now);
    return sender.take(now) && this.#all.take(now);
  }

  #dropOldest(): void {
    let oldest: [string, Entry] | undefined;
    for (const one of this.#verified) if (oldest === undefined || one[1].heardAt < oldest[1].heardAt) oldest = one;
    if (oldest !== undefined) this.#verified.delete(oldest[0]);
  }
}

function trim(map: Map<string, unknown>, size: number): void {
  while (map.size > size) map.delete(map.keys().next().value!);
}
