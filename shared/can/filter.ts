/**
 * The filters of can-utils, with the meaning that Linux gives them (Documentation/networking/can.rst, "RAW socket
 * option CAN_RAW_FILTER"): `id:mask` passes frames whose id agrees with `id` in all bits of `mask`, `id~mask` those
 * whose id does not, `#mask` error frames of these classes. All numbers are hexadecimal.
 *
 * The id that is compared has the flag bits of `can_id`: 80000000 for a 29-bit id, 40000000 for a remote frame. So
 * `123:7FF` also passes 29-bit and remote frames whose low bits agree, and `123:C00007FF` the standard data frame
 * alone. An id of eight digits stands for a 29-bit one, as in candump. Error frames pass `#mask` only, never the
 * others.
 */
import { ErrorCode, KerbError } from '../base/errors.ts';
import { CAN_EFF_FLAG, CAN_ERR_FLAG, CAN_RTR_FLAG, type CanFrame, linuxIdOf } from './frame.ts';

/** Passes frames whose `can_id` agrees with `id` in the bits of `mask`; inverted, all others. In JSON it is its text. */
export class IdFilter {
  readonly kind = 'id';
  readonly id: number;
  readonly mask: number;
  readonly invert: boolean;
  /** As it was written. */
  readonly text: string;

  /** @param id with Linux' flags, as `can_id` */
  constructor(id: number, mask: number, invert = false, text = `${hex(id)}${invert ? '~' : ':'}${hex(mask)}`) {
    this.id = id;
    this.mask = mask;
    this.invert = invert;
    this.text = text;
  }

  toJSON(): string {
    return this.text;
  }
}

/** Passes error frames of these classes. In JSON it is its text. */
export class ErrorFilter {
  readonly kind = 'error';
  readonly mask: number;
  /** As it was written. */
  readonly text: string;

  constructor(mask: number, text = `#${hex(mask)}`) {
    this.mask = mask;
    this.text = text;
  }

  toJSON(): string {
    return this.text;
  }
}

export type CanFilter = IdFilter | ErrorFilter;

/** An id of 29 bits has its flag, and so eight digits; one of 11 bits has three. */
function hex(value: number): string {
  return value.toString(16).toUpperCase().padStart(3, '0');
}

export type FrameMatcher = (frame: CanFrame) => boolean;

function bad(text: string, position: number, what: string): KerbError {
  return new KerbError(
    ErrorCode.BadCanFilter,
    `CAN filter "${text}", character ${position + 1}: ${what}; write it as ID:MASK or ID~MASK in hex, such as 123:7FF`,
    { filter: text, position },
  );
}

/** Reads hex digits from `start` to `end`; says where the first one is that is none. */
function readHex(text: string, start: number, end: number, name: string): number {
  if (start === end) throw bad(text, start, `the ${name} is missing`);
  for (let i = start; i < end; i++) {
    if (!/[0-9A-Fa-f]/.test(text[i]!)) throw bad(text, i, `"${text[i]}" in the ${name} is not a hex digit`);
  }
  if (end - start > 8) throw bad(text, start + 8, `the ${name} has more than eight digits`);
  return Number.parseInt(text.slice(start, end), 16);
}

/** Reads one filter. @throws KerbError BadCanFilter, with the text and the position of the fault */
export function parseFilter(text: string): CanFilter {
  if (text.startsWith('#')) return new ErrorFilter(readHex(text, 1, text.length, 'error mask'), text);
  const separator = text.search(/[:~]/);
  if (separator < 0) throw bad(text, text.length, 'there is no ":" and no "~"');
  const rawId = readHex(text, 0, separator, 'id');
  const rawMask = readHex(text, separator + 1, text.length, 'mask');
  if ((rawId & CAN_ERR_FLAG) !== 0) throw bad(text, 0, 'error frames are asked for with #MASK');
  const id = separator === 8 ? (rawId | CAN_EFF_FLAG) >>> 0 : rawId;
  if (separator < 8 && id > 0x7ff && (rawMask & CAN_EFF_FLAG) !== 0) {
    throw bad(text, 0, 'an id above 7FF is written with eight digits');
  }
  return new IdFilter(id, (rawMask & ~CAN_ERR_FLAG) >>> 0, text[separator] === '~', text);
}

/** True when the filter can only ever pass standard (or only extended) data frames with this one id. */
function exactId(filter: CanFilter): number | undefined {
  if (filter.kind !== 'id' || filter.invert) return undefined;
  const idBits = (filter.id & CAN_EFF_FLAG) !== 0 ? 0x1fffffff : 0x7ff;
  const exact = (CAN_EFF_FLAG | CAN_RTR_FLAG | idBits) >>> 0;
  return (filter.mask & exact) >>> 0 === exact ? (filter.id & exact) >>> 0 : undefined;
}

/**
 * One matcher for a list of filters: a frame passes when it passes any of them. An empty list passes nothing.
 * Filters that mean exactly one id become one look-up, however many they are.
 */
export function compileFilters(list: readonly CanFilter[]): FrameMatcher {
  const exact = new Set<number>();
  const masked: { id: number; mask: number; invert: boolean }[] = [];
  let errorMask = 0;
  for (const filter of list) {
    if (filter.kind === 'error') {
      errorMask |= filter.mask;
      continue;
    }
    const id = exactId(filter);
    if (id !== undefined) exact.add(id);
    else masked.push({ id: (filter.id & filter.mask) >>> 0, mask: filter.mask, invert: filter.invert });
  }
  return (frame) => {
    if (frame.err) return (frame.id & errorMask) !== 0;
    const id = linuxIdOf(frame);
    if (exact.has(id)) return true;
    for (const filter of masked) {
      if (((id & filter.mask) >>> 0 === filter.id) !== filter.invert) return true;
    }
    return false;
  };
}
