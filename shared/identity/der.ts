/** The part of DER (ITU-T X.690) that revocation lists are read with: definite lengths, tags of one byte. */

export interface DerValue {
  readonly tag: number;
  readonly content: Buffer;
  /** With tag and length. */
  readonly whole: Buffer;
}

export const DER = {
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  objectId: 0x06,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  /** [0], constructed. */
  context0: 0xa0,
} as const;

/** The values that stand one after the other in `bytes`. @throws Error when they do not fill it exactly */
export function readDer(bytes: Buffer): DerValue[] {
  const values: DerValue[] = [];
  for (let at = 0; at < bytes.length; ) {
    const value = valueAt(bytes, at);
    values.push(value);
    at += value.whole.length;
  }
  return values;
}

/** The one value that `bytes` is. @throws Error when it is something else */
export function readOneDer(bytes: Buffer, tag: number): DerValue {
  const [value, ...more] = readDer(bytes);
  if (value === undefined || more.length > 0) throw new Error('it is not one value');
  return expectTag(value, tag);
}

/** @throws Error when there is no value, or one of another kind */
export function expectTag(value: DerValue | undefined, tag: number): DerValue {
  if (value?.tag === tag) return value;
  throw new Error(
    `tag 0x${tag.toString(16)} was expected${value === undefined ? '' : `, not 0x${value.tag.toString(16)}`}`,
  );
}

/** @throws Error for a time that is none (RFC 5280, 4.1.2.5) */
export function derTime({ tag, content }: DerValue): Date {
  const text = content.toString('latin1');
  const [, year, month, day, hour, minute, second] =
    (tag === DER.utcTime ? /^(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/ : /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/).exec(
      text,
    ) ?? [];
  if ((tag !== DER.utcTime && tag !== DER.generalizedTime) || year === undefined)
    throw new Error('a time is not valid');
  const century = tag === DER.generalizedTime ? '' : Number(year) < 50 ? '20' : '19';
  const time = new Date(`${century}${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
  if (Number.isNaN(time.getTime())) throw new Error('a time is not valid');
  return time;
}

/** "1.2.840.10045.4.3.2" */
export function derObjectId({ content }: DerValue): string {
  const numbers: number[] = [];
  let number = 0;
  for (const byte of content) {
    number = number * 128 + (byte & 0x7f);
    if (byte >= 0x80) continue;
    numbers.push(number);
    number = 0;
  }
  const first = numbers.shift() ?? 0;
  const top = Math.min(2, Math.floor(first / 40));
  return [top, first - top * 40, ...numbers].join('.');
}

/** Digits as Node writes serial numbers: upper case, no zeros in front. */
export function derSerial({ content }: DerValue): string {
  return content
    .toString('hex')
    .toUpperCase()
    .replace(/^0+(?=.)/, '');
}

function valueAt(bytes: Buffer, at: number): DerValue {
  const tag = bytes[at];
  let length = bytes[at + 1];
  let start = at + 2;
  if (tag === undefined || length === undefined) throw new Error('it is cut off');
  if ((tag & 0x1f) === 0x1f) throw new Error('a tag has more than one byte');
  if (length >= 0x80) {
    const digits = length & 0x7f;
    if (digits === 0 || digits > 4 || start + digits > bytes.length) throw new Error('a length is not valid');
    length = bytes.readUIntBE(start, digits);
    start += digits;
  }
  if (start + length > bytes.length) throw new Error('it is cut off');
  return { tag, content: bytes.subarray(start, start + length), whole: bytes.subarray(at, start + length) };
}
