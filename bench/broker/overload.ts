import type { LoadReport } from '../../cli/offload/load.ts';
import { atLeast, atMost, type Row, single } from '../measure.ts';
import type { Say } from '../tenders.ts';
import type { BrokerRig } from './rig.ts';
import { inputFile, latencyRow, MEASURE_MS, refusalsOf, suite } from './setting.ts';

const JOB_MS = 5;
const BUDGET_MS = 50;
const FACTORS = [1, 1.3, 2, 3];
const PROBE_ROUNDS = 2000;
const INPUT_BYTES = 256;
const AIMS = { goodputPercent: 95, refusalMs: 5, uselessPercent: 1 };

/** Jobs of 5 ms with a budget of 50 ms, offered at 1 to 3 times the best closed loop of the same run. */
export async function* overload(rig: BrokerRig, say: Say): AsyncGenerator<Row> {
  say('finding out how long 5 ms of computing are');
  const probe = inputFile(rig, 'probe', INPUT_BYTES, PROBE_ROUNDS);
  const probed = await rig.load({ input: probe, ms: 1000, budgetMs: 1000, args: ['--concurrency', '1'] });
  const rounds = Math.round((PROBE_ROUNDS * JOB_MS) / Math.max(0.001, probed.runMs.p50));
  const input = inputFile(rig, 'job', INPUT_BYTES, rounds);

  let capacity = 0;
  for (const open of ['1', '2', '4']) {
    say(`capacity: jobs of 5 ms, ${open} open`);
    const args = ['--concurrency', open];
    const report = await rig.load({ input, ms: MEASURE_MS, budgetMs: 1000, args });
    capacity = Math.max(capacity, report.answeredPerSecond);
    yield latencyRow(`jobs of 5 ms, ${open} open`, report);
  }
  yield single(suite, 'capacity: best closed loop of jobs of 5 ms', '/s', capacity);
  if (capacity === 0) return;

  for (const tenants of [1, 2]) {
    for (const factor of FACTORS) {
      say(`${factor} times the capacity, ${tenants} tenants, budget ${BUDGET_MS} ms`);
      yield* offered(rig, input, capacity, factor, tenants);
    }
  }
}

async function* offered(
  rig: BrokerRig,
  input: string,
  capacity: number,
  factor: number,
  tenants: number,
): AsyncGenerator<Row> {
  // What the machine can do changes while it is measured: the capacity of these seconds is measured too.
  const closed = () => rig.load({ input, ms: MEASURE_MS / 4, budgetMs: 1000, args: ['--concurrency', '4'] });
  const capacityBefore = (await closed()).answeredPerSecond;
  const before = await rig.runs();
  const args = ['--rate', ((capacity * factor) / tenants).toFixed(3)];
  const names = ['victim', 'other'].slice(0, tenants);
  const reports = await Promise.all(
    names.map((tenant) => rig.load({ tenant, input, ms: MEASURE_MS, budgetMs: BUDGET_MS, args })),
  );
  const runs = (await rig.runs()) - before;
  const answered = sum(reports, (one) => one.answered);
  const goodput = sum(reports, (one) => one.answeredPerSecond);
  const what = `${factor} times the load, ${tenants === 1 ? 'one tenant' : 'two tenants'}`;
  const share = single(suite, `goodput at ${what}`, '% of capacity', (100 * goodput) / capacity, answered);
  yield atLeast(share, AIMS.goodputPercent);
  const meanwhile = (capacityBefore + (await closed()).answeredPerSecond) / 2;
  const possible = (100 * goodput) / Math.max(1, Math.min(meanwhile, capacity * factor));
  yield single(suite, `goodput at ${what}, of what the closed loops before and after it did`, '%', possible, answered);
  const useless = single(suite, `useless runs at ${what}`, '% of runs', (100 * (runs - answered)) / Math.max(1, runs));
  yield atMost({ ...useless, n: runs }, AIMS.uselessPercent);
  const refusals = refusalsOf(reports);
  const count = refusals.reduce((all, one) => all + one.count, 0);
  if (count > 0) {
    const p50 = Math.max(...refusals.map(({ totalMs }) => totalMs.p50));
    const p99 = Math.max(...refusals.map(({ totalMs }) => totalMs.p99));
    const max = Math.max(...refusals.map(({ totalMs }) => totalMs.max));
    yield atMost({ suite, name: `refusals at ${what}`, unit: 'ms', n: count, p50, p99, max }, AIMS.refusalMs);
  }
  const late = sum(reports, ({ refusals }) => refusals.find(({ reason }) => reason === 'late')?.count ?? 0);
  yield single(suite, `without any answer at ${what}`, 'offloads', late);
  if (tenants === 2) {
    const least = Math.min(...reports.map((one) => one.answered));
    yield single(suite, `share of the tenant with less at ${what}`, '% of half', (200 * least) / Math.max(1, answered));
  }
}

function sum(reports: readonly LoadReport[], of: (report: LoadReport) => number): number {
  return reports.reduce((all, one) => all + of(one), 0);
}
