/**
 * Messages of SAE J1939 in a CAN database. Their identifier (J1939-21, 5.2) is 3 bits of priority, 18 bits of parameter
 * group number (PGN) and 8 bits of source address. Below PDU format F0 (PDU1) the lowest byte of the PGN is the
 * destination and no part of the number; from F0 on (PDU2) the message is for all and that byte belongs to the number.
 * A database gives one identifier as an example: what counts of it is the PGN.
 */

import { IdFilter } from '../can/filter.ts';

/** An address that nobody has: databases write it for "any". */
const NULL_ADDRESS = 0xfe;
const GLOBAL_ADDRESS = 0xff;
/** VFrameFormat J1939PG in files that do not define its labels. */
const FORMAT_J1939 = 3;
/** Identifiers whose message is remembered. A flood of random ones must not eat the memory. */
const MAX_KNOWN = 4096;

type Attributes = ReadonlyMap<string, unknown>;

/**
 * Whether a database says that a message is one of J1939: by its frame format, or by the protocol of the whole file
 * where the format is only the default, or cannot be that of a 29-bit id.
 * @param defaultFormat what the file gives to messages that say nothing of their format
 */
export function saysJ1939(ext: boolean, message: Attributes, file: Attributes, defaultFormat: unknown): boolean {
  if (!ext) return false;
  const format = message.get('VFrameFormat');
  if (format === 'J1939PG' || format === FORMAT_J1939) return true;
  const isOther = (typeof format === 'string' && /^ExtendedCAN/i.test(format)) || format === 1 || format === 15;
  if (isOther && format !== defaultFormat) return false;
  return ['ProtocolType', 'BusType'].some((name) => /^J1939/i.test(String(file.get(name) ?? '')));
}

/** @param id 29 bits */
export function pgnOf(id: number): number {
  const pgn = (id >>> 8) & 0x3ffff;
  return isForOne(pgn) ? pgn & 0x3ff00 : pgn;
}

export function sourceOf(id: number): number {
  return id & 0xff;
}

export function destinationOf(id: number): number {
  return isForOne((id >>> 8) & 0x3ffff) ? (id >>> 8) & 0xff : GLOBAL_ADDRESS;
}

/** PDU1: messages of this number have a destination. */
function isForOne(pgn: number): boolean {
  return ((pgn >>> 8) & 0xff) < 0xf0;
}

/** The identifier with these addresses instead of its own. A destination is left out of messages that are for all. */
export function withAddresses(id: number, source = sourceOf(id), destination = destinationOf(id)): number {
  const other = (id & ~0xff) | source;
  return isForOne((id >>> 8) & 0x3ffff) ? (other & ~0xff00) | (destination << 8) : other;
}

/** The identifier, without priority, of a message of this number. */
export function idOf(pgn: number, source: number, destination: number): number {
  return withAddresses(pgn << 8, source, destination);
}

/** The filter of can-utils that passes data frames of this number, whatever their priority and addresses. */
export function pgnFilter(pgn: number): IdFilter {
  return new IdFilter((0x80000000 | (pgn << 8)) >>> 0, isForOne(pgn) ? 0xc3ff0000 : 0xc3ffff00);
}

/**
 * What belongs to the messages of a bus, found by the identifier of a frame. One message of a PGN stands for all frames
 * of it. Of several messages with one PGN, the file tells them apart by an address: there it counts, and FE or FF in
 * the database stand for every address that no other message names.
 */
export class PgnTable<T> {
  readonly #byPgn = new Map<number, { readonly id: number; readonly item: T }[]>();
  readonly #known = new Map<number, T | undefined>();

  get pgns(): readonly number[] {
    return [...this.#byPgn.keys()];
  }

  get items(): readonly T[] {
    return [...this.#byPgn.values()].flatMap((list) => list.map(({ item }) => item));
  }

  add(id: number, item: T): void {
    const list = this.#byPgn.get(pgnOf(id));
    if (list === undefined) this.#byPgn.set(pgnOf(id), [{ id, item }]);
    else list.push({ id, item });
    this.#known.clear();
  }

  /** What was added with the same PGN and the same addresses. */
  same(id: number): T | undefined {
    return this.#byPgn.get(pgnOf(id))?.find((one) => ((one.id ^ id) & 0x3ffffff) === 0)?.item;
  }

  has(pgn: number): boolean {
    return this.#byPgn.has(pgn);
  }

  get(id: number): T | undefined {
    const key = id & 0x3ffffff;
    const known = this.#known.get(key);
    if (known !== undefined || this.#known.has(key)) return known;
    const found = this.#find(id);
    if (this.#known.size >= MAX_KNOWN) this.#known.clear();
    this.#known.set(key, found);
    return found;
  }

  #find(id: number): T | undefined {
    let list = this.#byPgn.get(pgnOf(id)) ?? [];
    for (const addressOf of [sourceOf, destinationOf]) {
      if (list.every((one) => addressOf(one.id) === addressOf(list[0]!.id))) continue;
      const exact = list.filter((one) => addressOf(one.id) === addressOf(id));
      list = exact.length > 0 ? exact : list.filter((one) => addressOf(one.id) >= NULL_ADDRESS);
    }
    return list[0]?.item;
  }
}
