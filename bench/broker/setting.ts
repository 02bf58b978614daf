import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { LoadReport } from '../../cli/offload/load.ts';
import { type Row, single } from '../measure.ts';
import type { BrokerRig } from './rig.ts';

export const suite = 'broker';
export const KIB_4 = 4096;

const seconds = (name: string, otherwise: number) => {
  const value = Number(process.env[name] ?? otherwise);
  if (!(value > 0)) throw new Error(`${name} is a number of seconds above 0`);
  return value * 1000;
};

/** How long one measurement takes. */
export const MEASURE_MS = seconds('KERB_BENCH_SECONDS', 5);
/** After an attack, until the memory is looked at. */
export const SETTLE_MS = seconds('KERB_BENCH_SETTLE', 60);

/**
 * A file with an input of the task `work`.
 * @param rounds of computing, of about a microsecond each
 */
export function inputFile(rig: BrokerRig, name: string, bytes: number, rounds: number): string {
  const input = Buffer.alloc(bytes, 0x5a);
  input.writeUInt32LE(rounds, 0);
  const path = join(rig.folder, name);
  writeFileSync(path, input);
  return path;
}

/** p50, p99 and the largest of the answered offloads, in milliseconds. */
export function latencyRow(name: string, { totalMs, refusals }: LoadReport): Row {
  const { count: n, p50, p99, max } = totalMs;
  if (n > 0) return { suite, name, unit: 'ms', n, p50, p99, max };
  return { suite, name, absent: `nothing was answered: ${refusals[0]?.message ?? 'nothing was sent'}` };
}

export function rateRow(name: string, { answered, answeredPerSecond }: LoadReport) {
  return single(suite, name, '/s', answeredPerSecond, answered);
}

/** Offloads that were not answered, but for those whose budget ended at the caller without a word. */
export function refusalsOf(reports: readonly LoadReport[]) {
  return reports.flatMap(({ refusals }) => refusals).filter(({ reason }) => reason !== 'late');
}
