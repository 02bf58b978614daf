/**
 * Which raw values of a J1939 parameter (SPN) say that there is no value: "error indicator" and "not available", by the
 * length of the parameter (J1939-71, 5.1: ranges of transmitted signals, discrete parameters).
 *
 *   bits               error indicator     not available
 *   2                  10                  11
 *   3 to 7             all ones, less 1    all ones (4 bits: E, F)
 *   8, 12, 16, 20 …32  FE, FE0-FEF, FE00-FEFF, …   FF, FF0-FFF, FF00-FFFF, …
 *   other up to 32     all ones, less 1    all ones (10 bits: 3FE, 3FF)
 *   more than 32       none                all ones
 *
 * One bit has no such values. Neither have text, lengths of text, counters, checksums and numbers of messages, nor what
 * is signed or a float, which J1939 does not have. The ranges below the error indicator (FB to FD) are left to the
 * limits of the database: discrete parameters use them.
 */

import { type Exact, exact } from '../base/exact.ts';
import type { DbcMessage, DbcSignal } from './dbc.ts';

/** Values of the signal attribute SigType (Vector) that are no parameters with such ranges. */
const otherTypes = new Set([
  'RangeSigned',
  'ASCII',
  'ReferencePGN',
  'DTC',
  'StringDelimiter',
  'StringLength',
  'StringLengthControl',
  'MessageCounter',
  'MessageChecksum',
]);

/** Names that a database gives to such values. */
const noneNames =
  /n(o|')?t[ _-]?(avail|valid|defined|supp|install|use)|unavail|^n\/?a$|^sna$|err|invalid|reserved|fault|don.?t[ _-]?care|no[ _-]?action/i;

/** The least raw value that is none, as are all above it; infinite when all values are values. */
export function noValueFrom({ j1939 }: Pick<DbcMessage, 'j1939'>, signal: DbcSignal): Exact {
  const { length, signed, float, isMultiplexer, attributes } = signal;
  if (!j1939 || signed || float !== 'none' || isMultiplexer || length < 2) return Number.POSITIVE_INFINITY;
  if (otherTypes.has(String(attributes.get('SigType') ?? ''))) return Number.POSITIVE_INFINITY;
  if (length > 32) return exact((1n << BigInt(length)) - 1n);
  if (length >= 8 && length % 4 === 0) return 0xfe * 2 ** (length - 8);
  return 2 ** length - 2;
}

/** Whether the name of a value that the ranges say is none says so too. A database may use such a value for another. */
export function saysNoValue(label: string): boolean {
  return noneNames.test(label);
}

/**
 * The raw value of a parameter in a message that the OBU sends, before anybody has said what it is: "not available"
 * (J1939-71, 5.1.1), which leaves the receiver as it is; where the database gives a start value, that.
 */
export function unsetRaw({ j1939 }: Pick<DbcMessage, 'j1939'>, signal: DbcSignal): DbcSignal['startRaw'] {
  const { length, float, isMultiplexer, attributes, startRaw } = signal;
  const isGiven = attributes.has('GenSigStartValue') || isMultiplexer || float !== 'none';
  if (!j1939 || isGiven) return startRaw;
  return signal.signed ? -1 : exact((1n << BigInt(length)) - 1n);
}
