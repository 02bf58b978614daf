import { cpus, loadavg, release } from 'node:os';
import { table } from '../shared/text/table.ts';
import type { Measurement, Row } from './measure.ts';

/** A row, and the machine's load average (1 minute, this bench included) when it had been measured. */
export type ReportRow = Row & { readonly load: number };

export const withLoad = (row: Row): ReportRow => ({ ...row, load: loadavg()[0] ?? 0 });

/** What the numbers come from. */
export function describeMachine() {
  const [first, ...others] = cpus();
  return {
    processor: first?.model.trim() ?? 'unknown',
    cores: others.length + 1,
    kernel: release(),
    node: process.version,
    /** Load averages of 1, 5 and 15 minutes, before the first measurement. */
    load: loadavg(),
  };
}

const aimText = ({ aim }: Measurement) => (aim === undefined ? '' : `${aim.text}: ${aim.met ? 'met' : 'missed'}`);

const number = (value: number) =>
  value >= 1000 ? Math.round(value).toLocaleString('en-US') : value.toPrecision(3).replace(/e\+?/, 'e');

/** The table, line by line. */
export function reportLines(machine: ReturnType<typeof describeMachine>, rows: readonly ReportRow[]): string[] {
  const { processor, cores, kernel, node, load } = machine;
  const averages = load.map((value) => value.toFixed(2)).join(' ');
  return [
    `${cores} cores (${processor}), Linux ${kernel}, Node ${node}; load average before the first row: ${averages}`,
    '',
    ...table([
      ['SUITE', 'WHAT', 'UNIT', 'N', 'P50', 'P99', 'MAX', 'LOAD', 'AIM'],
      ...rows.map((row) =>
        'absent' in row
          ? [row.suite, row.name, '', '', '', '', '', '', `not measured: ${row.absent}`]
          : [
              ...[row.suite, row.name, row.unit, String(row.n)],
              ...[number(row.p50), number(row.p99), number(row.max), row.load.toFixed(1), aimText(row)],
            ],
      ),
    ]).map((line) => line.trimEnd()),
  ];
}
