/**
 * Bare numbers of a manifest, and bare texts that look like one. A program gets them as text, in `environment` or a
 * label, and must get the digits that are written. YAML 1.2 (its core schema) and Compose (which reads YAML 1.1's
 * octals, and prints numbers as Go's `%v` does) mostly make the same text of a number; where they do not, there is no
 * right one, and it has to be in quotes.
 */

const MAX_UINT64 = 2n ** 64n - 1n;
const MIN_INT64 = -(2n ** 63n);

const quotes = 'put it in quotes to keep it as it is written';

/**
 * Why a bare number cannot be taken; undefined when YAML 1.2 and Compose make the same of it.
 * @param source as it is written
 * @param value what YAML 1.2 makes of it
 */
export function numberFault(source: string, value: number | bigint): string | undefined {
  return typeof value === 'bigint' ? integerFault(source, value) : floatFault(source, value);
}

/**
 * Why a bare text cannot be taken; undefined when Compose takes it for a text as well. Go's yaml.v3 reads numbers with
 * underscores, binary numbers, prefixes in capitals and dates, which are texts in YAML 1.2.
 * @param source as it is written
 */
export function textFault(source: string): string | undefined {
  const word = isComposeNumber(source) ? 'a number' : DATE.test(source) ? 'a time' : undefined;
  return word && `\`${source}\` is a text in YAML 1.2 and ${word} in Compose; ${quotes}`;
}

/** With a time of day or not, as yaml.v3 has it. */
const DATE = /^\d{4}-\d\d?-\d\d?(?:(?:[Tt]|[ \t]+)\d\d?:\d\d?:\d\d?(?:\.\d*)?(?:[ \t]*(?:Z|[-+]\d\d?(?::?\d\d)?))?)?$/;

/** Only what YAML 1.2 has for a text is asked about. */
function isComposeNumber(source: string): boolean {
  // A value that begins with an underscore is a text there, too.
  if (!/^[-+.]?\d/.test(source)) return false;
  const plain = source.replaceAll('_', '');
  if (/^[-+]?(?:0[bB][01]+|0[oO][0-7]+|0[xX][\da-fA-F]+)$/.test(plain)) return true;
  return plain !== source && /^[-+]?(?:\.\d+|\d+(?:\.\d*)?)(?:[eE][-+]?\d+)?$/.test(plain);
}

function integerFault(source: string, value: bigint): string | undefined {
  const zeros = /^([-+]?)0+(\d+)$/.exec(source);
  if (zeros !== null) {
    const octal = /^[0-7]+$/.test(zeros[2]!) ? BigInt(`0o${zeros[2]!}`) : undefined;
    if (octal === undefined || octal === 0n) return `\`${source}\` would lose its leading zero; ${quotes}`;
    const compose = zeros[1] === '-' ? -octal : octal;
    return `\`${source}\` is ${value} in YAML 1.2 and ${compose} (octal) in Compose; ${quotes}`;
  }
  if (value > MAX_UINT64 || value < MIN_INT64) return `\`${source}\` is more than a 64-bit number; ${quotes}`;
  return undefined;
}

function floatFault(source: string, value: number): string | undefined {
  if (!Number.isFinite(value)) return `\`${source}\` is not a finite number; ${quotes}`;
  if (digitsOf(source) !== digitsOf(String(value))) return `\`${source}\` would be rounded to ${value}; ${quotes}`;
  const exponent = Number(value.toExponential().split('e')[1]);
  // From there on Go prints an exponent, and this program does not.
  const differs = value !== 0 && (exponent < -4 || exponent >= 6);
  return differs || Object.is(value, -0)
    ? `YAML 1.2 and Compose write \`${source}\` in different ways; ${quotes}`
    : undefined;
}

/** Sign, significant digits and exponent of a decimal number, so that equal numbers have equal ones. */
function digitsOf(text: string): string {
  const match = /^([-+]?)(\d*)\.?(\d*)(?:[eE]([-+]?\d+))?$/.exec(text);
  if (match === null) return text;
  const [, sign, whole = '', fraction = '', exponent = '0'] = match;
  const all = `${whole}${fraction}`.replace(/^0+/, '');
  const digits = all.replace(/0+$/, '');
  if (digits === '') return '0';
  const scale = Number(exponent) - fraction.length + (all.length - digits.length);
  return `${sign === '-' ? '-' : ''}${digits}e${scale}`;
}
