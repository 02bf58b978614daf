/**
 * J1939 messages of more than 8 bytes, put together from the frames that carry them (J1939-21, 5.10): broadcasts (BAM),
 * and what others send to each other (RTS, CTS). We only listen: nothing is answered, no CTS, no end of message, no
 * abort, because the OBU has no address on the bus; what two others say to each other is heard all the same.
 *
 * A message is handed on when all of it has come in order. A sender has one broadcast, and one message to each receiver,
 * at a time; a new announcement replaces an unfinished one. A packet that is missing ends a broadcast; between two, the
 * receiver may ask for it again. What is silent for longer than the standard lets it be is forgotten.
 */
import { destinationOf, idOf, pgnOf, sourceOf } from './j1939.ts';

/** TP.CM, connection management, and TP.DT, data transfer. */
export const TRANSPORT_PGNS: readonly number[] = [0xec00, 0xeb00];
const CONNECTION = 0xec00;

const RTS = 16;
const CTS = 17;
const END_OF_MESSAGE = 19;
const BAM = 32;
const ABORT = 255;

const GLOBAL = 0xff;
/** Addresses above it are nobody's. */
const MAX_ADDRESS = 0xfd;
const PACKET_BYTES = 7;
const MIN_SIZE = 9;
const MAX_SIZE = 255 * PACKET_BYTES;
/** Between two packets. */
const T1_MS = 750;
/** From a CTS to the first packet after it. */
const T2_MS = 1250;
/** From RTS or the last packet that was asked for, to the next CTS. */
const T3_MS = 1250;
/** From a CTS that says wait, to the next one. */
const T4_MS = 1050;
/** Messages between two addresses that are put together at a time. Broadcasts have places of their own, one a sender. */
const MAX_SESSIONS = 64;

interface Session {
  readonly pgn: number;
  readonly size: number;
  readonly packets: number;
  readonly data: Uint8Array;
  readonly isBroadcast: boolean;
  /** Packets that have come. */
  received: number;
  /** Last packet that the receiver has asked for. */
  asked: number;
  /** Milliseconds that it may be silent from now on. */
  waitMs: number;
  seenMs: number;
  seenUs: number;
}

/** A message as if it had come in one frame; `id` has no priority. */
export type TransportListener = (id: number, data: Uint8Array, timeUs: number) => void;

export class J1939Transport {
  readonly #isWanted: (pgn: number) => boolean;
  readonly #deliver: TransportListener;
  /** By sender and receiver, least lately heard of first. */
  readonly #sessions = new Map<number, Session>();
  readonly #broadcasts = new Map<number, Session>();
  #lost = 0;

  /** @param isWanted the numbers of messages that are put together; the others are read over */
  constructor(isWanted: (pgn: number) => boolean, deliver: TransportListener) {
    this.#isWanted = isWanted;
    this.#deliver = deliver;
  }

  /** Messages so far that were announced and did not come whole. */
  get lost(): number {
    return this.#lost;
  }

  /** Messages that are under way. */
  get open(): number {
    return this.#sessions.size + this.#broadcasts.size;
  }

  /**
   * Takes a frame of TRANSPORT_PGNS.
   * @param timeUs of the frame, on the clock of the bus
   * @param nowMs on a clock that is never set
   */
  receive(id: number, data: Uint8Array, timeUs: number, nowMs: number): void {
    const [from, to] = [sourceOf(id), destinationOf(id)];
    if (from > MAX_ADDRESS || data.length !== 8) return;
    if (pgnOf(id) === CONNECTION) this.#connection(from, to, data, timeUs, nowMs);
    else this.#packet(from, to, data, timeUs, nowMs);
  }

  #connection(from: number, to: number, data: Uint8Array, timeUs: number, nowMs: number): void {
    const pgn = pgnOf((data[5]! | (data[6]! << 8) | ((data[7]! & 3) << 16)) << 8);
    switch (data[0]) {
      case BAM:
        if (to === GLOBAL) this.#announced(from, to, pgn, data, timeUs, nowMs);
        return;
      case RTS:
        if (to !== GLOBAL) this.#announced(from, to, pgn, data, timeUs, nowMs);
        return;
      case CTS:
        this.#clearToSend(to, from, pgn, data, timeUs, nowMs);
        return;
      case END_OF_MESSAGE:
        this.#end(to, from, pgn);
        return;
      case ABORT:
        // Both ends may say it.
        this.#end(from, to, pgn);
        this.#end(to, from, pgn);
    }
  }

  #announced(from: number, to: number, pgn: number, data: Uint8Array, timeUs: number, nowMs: number): void {
    const isBroadcast = to === GLOBAL;
    const [sessions, key] = this.#placeOf(from, to);
    if (sessions.delete(key)) this.#lost++;
    const size = data[1]! | (data[2]! << 8);
    const packets = data[3]!;
    const isSound = size >= MIN_SIZE && size <= MAX_SIZE && packets === Math.ceil(size / PACKET_BYTES);
    if (!isSound || !this.#isWanted(pgn)) return;
    if (!isBroadcast && sessions.size >= MAX_SESSIONS) {
      sessions.delete(sessions.keys().next().value!);
      this.#lost++;
    }
    sessions.set(key, {
      pgn,
      size,
      packets,
      isBroadcast,
      data: new Uint8Array(size),
      received: 0,
      asked: packets,
      waitMs: isBroadcast ? T1_MS : T3_MS,
      seenMs: nowMs,
      seenUs: timeUs,
    });
  }

  /** The receiver asks for packets: the next ones, or some again. */
  #clearToSend(from: number, to: number, pgn: number, data: Uint8Array, timeUs: number, nowMs: number): void {
    const session = this.#sessionOf(from, to, timeUs, nowMs);
    if (session === undefined || session.isBroadcast || session.pgn !== pgn) return;
    const [, count, next] = data as unknown as [number, number, number];
    this.#heard(from, to, session, count === 0 ? T4_MS : T2_MS, timeUs, nowMs);
    if (count === 0) return;
    // What it does not ask for it has, and we have not.
    if (next === 0 || next > session.received + 1) {
      this.#drop(from, to);
      return;
    }
    session.received = next - 1;
    session.asked = Math.min(session.packets, next + count - 1);
  }

  #packet(from: number, to: number, data: Uint8Array, timeUs: number, nowMs: number): void {
    const session = this.#sessionOf(from, to, timeUs, nowMs);
    if (session === undefined) return;
    const number = data[0]!;
    if (number !== session.received + 1) {
      // The last one once more: a controller that heard no acknowledgement repeats the frame.
      const isRepeated = number === session.received && number > 0;
      if (session.isBroadcast && !isRepeated) this.#drop(from, to);
      return;
    }
    const at = session.received * PACKET_BYTES;
    session.data.set(data.subarray(1, 1 + Math.min(PACKET_BYTES, session.size - at)), at);
    session.received = number;
    if (number === session.packets) {
      const [sessions, key] = this.#placeOf(from, to);
      sessions.delete(key);
      this.#deliver(idOf(session.pgn, from, to), session.data, timeUs);
      return;
    }
    this.#heard(from, to, session, number >= session.asked && !session.isBroadcast ? T3_MS : T1_MS, timeUs, nowMs);
  }

  #placeOf(from: number, to: number): readonly [Map<number, Session>, number] {
    return to === GLOBAL ? [this.#broadcasts, from] : [this.#sessions, (from << 8) | to];
  }

  /** What is under way between the two, unless it has been silent for too long. */
  #sessionOf(from: number, to: number, timeUs: number, nowMs: number): Session | undefined {
    const [sessions, key] = this.#placeOf(from, to);
    const session = sessions.get(key);
    if (session === undefined) return undefined;
    // Frames wait in a queue while this process has no processor, and the clock of the bus can be set: it was silent
    // when both clocks say so.
    const silentMs = (timeUs - session.seenUs) / 1000;
    const isSilent = nowMs - session.seenMs > session.waitMs && (silentMs > session.waitMs || silentMs < 0);
    if (!isSilent) return session;
    this.#drop(from, to);
    return undefined;
  }

  #heard(from: number, to: number, session: Session, waitMs: number, timeUs: number, nowMs: number): void {
    session.waitMs = waitMs;
    session.seenMs = nowMs;
    session.seenUs = timeUs;
    const [sessions, key] = this.#placeOf(from, to);
    sessions.delete(key);
    sessions.set(key, session);
  }

  #drop(from: number, to: number): void {
    const [sessions, key] = this.#placeOf(from, to);
    if (sessions.delete(key)) this.#lost++;
  }

  #end(from: number, to: number, pgn: number): void {
    const [sessions, key] = this.#placeOf(from, to);
    if (sessions.get(key)?.pgn === pgn) this.#drop(from, to);
  }
}
