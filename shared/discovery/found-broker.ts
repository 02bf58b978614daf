import type { AnnouncedFacts, AnnouncedLoad, Announcement } from './announcement.ts';

/** Heard within so many milliseconds: it is there. An announcement comes every 250. */
export const LIVE_MS = 3000;
/** A load that is older is not known. */
export const LOAD_MS = 500;
/** Clocks may differ by so much: what was signed longer ago, or later, counts as a recording. */
export const WINDOW_MS = 5 * 60_000;

/** A broker that was heard of lately. */
export interface FoundBroker {
  readonly broker: string;
  /** `conflict`: two are there under this id, with good certificates both; neither is to be preferred. */
  readonly state: 'verified' | 'unverified' | 'conflict';
  /** Why it is not verified; empty: it is. */
  readonly reason: string;
  /** "https://host:port", where vehicles connect; empty: its address cannot be written as a URL. */
  readonly url: string;
  /** The address that its announcement came from. */
  readonly from: string;
  readonly facts: AnnouncedFacts;
  /** Undefined: not known, or older than 500 ms. */
  readonly load: AnnouncedLoad | undefined;
  /** Milliseconds since it was heard. */
  readonly ageMs: number;
}

/** One that was heard, as it is remembered. Times are of one monotonic clock. */
export interface Entry {
  announcement: Announcement;
  datagram: Buffer;
  from: string;
  readonly firstAt: number;
  heardAt: number;
  reason: string;
}

export const NOT_SEEN = 'its certificate has not been seen: nothing shows that this is the broker';

export function shown({ announcement, from, heardAt }: Entry, now: number, isConflict: boolean): FoundBroker {
  const { facts, load } = announcement;
  const ageMs = Math.max(0, now - heardAt);
  return {
    broker: facts.broker,
    state: isConflict ? 'conflict' : 'verified',
    reason: isConflict ? 'two brokers are there under this id; give one of them another' : '',
    url: urlOf(facts, from),
    ...{ from, facts, ageMs },
    load: ageMs <= LOAD_MS ? load : undefined,
  };
}

/** Each of both was heard after the other one had come: neither took the other's place. */
export function conflicts(a: Entry, b: Entry): boolean {
  if (a === b || a.announcement.facts.broker !== b.announcement.facts.broker) return false;
  return a.heardAt > b.firstAt && b.heardAt > a.firstAt;
}

function urlOf({ host: announced, port }: AnnouncedFacts, from: string): string {
  const host = announced || from;
  // Link-local addresses of IPv6 need the name of an interface, which no URL can hold.
  if (host === '' || host.includes('%')) return '';
  return `https://${host.includes(':') ? `[${host}]` : host}:${port}`;
}

export function isSame(a: Announcement, b: Announcement): boolean {
  return a.signed.equals(b.signed) && a.signature.equals(b.signature);
}

export function isSameOwner(a: AnnouncedFacts, b: AnnouncedFacts): boolean {
  return a.broker === b.broker && a.certificateHash === b.certificateHash;
}

export function keyOf({ broker, certificateHash, instance }: AnnouncedFacts): string {
  return `${broker} ${certificateHash} ${instance}`;
}

export function hintKeyOf(from: string, { broker, certificateHash }: AnnouncedFacts): string {
  return `${from} ${broker} ${certificateHash}`;
}
