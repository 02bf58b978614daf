import type { SignalReading } from '../../shared/api/obu.ts';
import { rowsOf } from '../lib/output.ts';
import { timeSpan } from '../lib/units.ts';

export function signalRows(readings: readonly SignalReading[]): string[] {
  return rowsOf(
    ['SIGNAL', 'VALUE', 'SOURCE', 'AGE'],
    readings.map(({ path, value, time, ageMs, source, stale, reason = '' }) => [
      path,
      value === null ? '-' : valueText(value),
      source || '-',
      (time === '' ? 'no value yet' : `${timeSpan(ageMs ?? Date.now() - Date.parse(time))}${stale ? ' (stale)' : ''}`) +
        (reason === '' ? '' : `: ${reason}`),
    ]),
    'this OBU has no signals',
  );
}

function valueText(value: SignalReading['value']): string {
  return Array.isArray(value) ? JSON.stringify(value) : String(value);
}

/** One value as one line. */
export function signalLine({ path, value, time, source, stale }: SignalReading): string {
  return `${time}  ${path} = ${valueText(value)}  (${source}${stale ? ', stale' : ''})`;
}
