import { table } from '../../shared/text/table.ts';
import type { LatencySummary } from './latencies.ts';
import type { LoadReport } from './load.ts';

const ms = (value: number) => value.toFixed(value < 10 ? 3 : 1);
const number = (value: number) => value.toFixed(value < 100 ? 1 : 0);

/** The report of many offloads, for people. */
export function loadLines(report: LoadReport): string[] {
  const { sent, answered, seconds, answeredPerSecond, kept, refusals } = report;
  const share = sent === 0 ? 0 : (100 * answered) / sent;
  const row = (name: string, { p50, p90, p99, max }: LatencySummary) => [name, ...[p50, p90, p99, max].map(ms)];
  const lines = [
    `sent      ${sent} in ${seconds.toFixed(2)} s, ${number(sent / seconds)} per second`,
    `answered  ${answered} within the budget (${share.toFixed(1)} %), ${number(answeredPerSecond)} per second`,
    ...(kept > 0 ? [`kept      ${kept} of them from the results that the broker keeps`] : []),
  ];
  if (answered > 0) {
    const times = [
      row('total', report.totalMs),
      row('queue', report.queueMs),
      row('start', report.startMs),
      row('run', report.runMs),
    ];
    lines.push('', ...table([['MS', 'P50', 'P90', 'P99', 'MAX'], ...times]));
  }
  if (refusals.length > 0) {
    const rows = refusals.map(({ reason, count, message, totalMs }) => {
      return [reason, String(count), ms(totalMs.p50), ms(totalMs.p99), message];
    });
    lines.push('', ...table([['NOT ANSWERED', 'COUNT', 'P50 MS', 'P99 MS', 'NEWEST'], ...rows]));
  }
  return lines;
}
