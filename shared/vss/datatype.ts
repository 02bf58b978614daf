/** The data types of VSS, as far as a CAN signal can have them, and what their values must be. */
import type { Exact } from '../base/exact.ts';
import type { SignalDatum, SignalInfo } from './signal.ts';

const integerRanges: Readonly<Record<string, readonly [Exact, Exact]>> = {
  uint8: [0, 255],
  int8: [-128, 127],
  uint16: [0, 65535],
  int16: [-32768, 32767],
  uint32: [0, 2 ** 32 - 1],
  int32: [-(2 ** 31), 2 ** 31 - 1],
  uint64: [0, 2n ** 64n - 1n],
  int64: [-(2n ** 63n), 2n ** 63n - 1n],
};

/** Largest finite value of 32 bits: beyond, what is sent to others would be infinite. */
const MAX_FLOAT = (2 - 2 ** -23) * 2 ** 127;

export const datatypes: readonly string[] = [...Object.keys(integerRanges), 'float', 'double', 'boolean', 'string'];

/** Longest text that a value may be, in characters. */
const MAX_TEXT = 4096;

type Limits = Pick<SignalInfo, 'datatype' | 'min' | 'max' | 'allowed'>;

/** Into the datatype: integers are rounded to the nearest one. Undefined for what the leaf cannot hold. */
export type Cast = (value: SignalDatum) => SignalDatum | undefined;

export function caster(limits: Limits): Cast {
  const { datatype, min, max, allowed } = limits;
  const cast = plainCaster(datatype);
  if (allowed === undefined && min === undefined && max === undefined) return cast;
  return (value) => {
    const result = cast(value);
    return result === undefined || limitFault(limits, result) !== undefined ? undefined : result;
  };
}

function plainCaster(datatype: string): Cast {
  if (datatype === 'string') return (value) => String(value);
  if (datatype === 'boolean')
    return (value) => (typeof value === 'string' ? undefined : value !== 0 && value !== false);
  const range = integerRanges[datatype];
  if (range === undefined) {
    const largest = datatype === 'float' ? MAX_FLOAT : Number.MAX_VALUE;
    return (value) => {
      const number = typeof value === 'bigint' ? Number(value) : value;
      return typeof number === 'number' && Math.abs(number) <= largest ? number : undefined;
    };
  }
  const [min, max] = range;
  return (value) => {
    if (typeof value === 'number') {
      const rounded = Math.round(value) + 0;
      return rounded >= min && rounded <= max ? inOneForm(rounded) : undefined;
    }
    return typeof value === 'bigint' && value >= min && value <= max ? value : undefined;
  };
}

/** What a file or a person wrote with many digits is an ordinary number to a leaf that is a float or a double. */
export function inFormOf(datatype: string, value: SignalDatum): SignalDatum {
  return typeof value === 'bigint' && isFloat(datatype) ? Number(value) : value;
}

function isFloat(datatype: string): boolean {
  return /^(float|double)/.test(datatype);
}

/** For messages: no more than the first digits of a very long one. */
function shortOf(value: bigint): string {
  const digits = value.toString();
  return digits.length > 40 ? `${digits.slice(0, 37)}…` : digits;
}

/** What a program gave as a bigint, as the number that a float or a double is where that has all of its digits. */
export function inExactFormOf(datatype: string, value: SignalDatum): SignalDatum {
  if (typeof value !== 'bigint' || !isFloat(datatype)) return value;
  const number = Number(value);
  return Number.isFinite(number) && BigInt(number) === value ? number : value;
}

function inOneForm(value: number): Exact {
  return Number.isSafeInteger(value) ? value : BigInt(value);
}

/** Why this is no value of the leaf, as the end of a sentence; undefined when it is one. Nothing is converted. */
export function datumFault(limits: Limits, value: SignalDatum): string | undefined {
  const { datatype } = limits;
  const wanted = datatype === 'string' || datatype === 'boolean' ? datatype : 'number';
  const range = integerRanges[datatype];
  const found = typeof value === 'bigint' && range !== undefined ? 'number' : typeof value;
  if (typeof value === 'bigint' && isFloat(datatype)) {
    return `is a ${datatype} and cannot be ${shortOf(value)} exactly; round it to a number first`;
  }
  if (found !== wanted) return `is a ${datatype}, not a ${typeof value}`;
  if (typeof value === 'string' && value.length > MAX_TEXT) return `has at most ${MAX_TEXT} characters`;
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) return `cannot be ${value}`;
    if (datatype === 'float' && Math.abs(value) > MAX_FLOAT) return `is a float and cannot be ${value}`;
    if (range !== undefined && !Number.isInteger(value)) return `is a ${datatype} and cannot be ${value}`;
  }
  if (range !== undefined && ((value as Exact) < range[0] || (value as Exact) > range[1])) {
    return `is a ${datatype} and cannot be ${value}`;
  }
  if (range !== undefined && typeof value === 'number' && !Number.isSafeInteger(value)) {
    return `cannot be the number ${value}, which may have lost digits; give it as a bigint or as text`;
  }
  return limitFault(limits, value);
}

function limitFault({ min, max, allowed }: Limits, value: SignalDatum): string | undefined {
  const isNumber = typeof value === 'number' || typeof value === 'bigint';
  if (isNumber && min !== undefined && value < min) return `is at least ${min}, not ${value}`;
  if (isNumber && max !== undefined && value > max) return `is at most ${max}, not ${value}`;
  if (allowed !== undefined && !allowed.includes(value)) {
    return `is one of ${allowed.slice(0, 10).join(', ')}${allowed.length > 10 ? ' …' : ''}, not ${value}`;
  }
  return undefined;
}
