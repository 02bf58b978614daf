import { join } from 'node:path';
import { atLeast, type Row, ratio, single } from '../measure.ts';
import { PINNING } from '../peers/pinned.ts';
import { EchoLoad } from '../peers/socketio-echo-load.ts';
import type { Say } from '../tenders.ts';
import type { BrokerRig } from './rig.ts';
import { inputFile, KIB_4, latencyRow, MEASURE_MS, rateRow, suite } from './setting.ts';

const AIM_PER_SECOND = 8000;
const BUDGET_MS = 5000;
/** Connections, and offloads that are open at once over all of them. */
const SHAPES = [
  { connections: 1, open: 1 },
  { connections: 4, open: 4 },
  { connections: 16, open: 16 },
  { connections: 16, open: 64 },
] as const;

/** Closed loops of 4 KiB, each with an echo of the same shape beside it, and where the processor time goes. */
export async function* throughput(rig: BrokerRig, say: Say): AsyncGenerator<Row> {
  const input = inputFile(rig, 'small', KIB_4, 0);
  const { vehicle, broker } = await rig.identities('victim');
  const echo = await EchoLoad.start({ vehicle, broker }, 'bench');
  try {
    let best: Row | undefined;
    let bestEcho: Row | undefined;
    for (const { connections, open } of SHAPES) {
      const shape = `${connections} connections, ${open} open`;
      say(`4 KiB, ${shape}; the same as a bare echo (${PINNING})`);
      const before = rig.computed();
      const args = ['--connections', String(connections), '--concurrency', String(open)];
      const report = await rig.load({ input, ms: MEASURE_MS, budgetMs: BUDGET_MS, args });
      const after = rig.computed();
      const rate = rateRow(`offloads of 4 KiB, ${shape}`, report);
      const answered = Math.max(1, report.answered);
      const bare = await echo.run(connections, open, KIB_4, MEASURE_MS);
      const echoRate = single(suite, `bare echo with the parser of V2E, ${shape}`, '/s', bare.perSecond, bare.count);
      yield atLeast(rate, AIM_PER_SECOND);
      yield latencyRow(`latency of that, ${shape}`, report);
      yield single(suite, `processor of the broker, ${shape}`, 'us/offload', (after.broker - before.broker) / answered);
      const tendersUs = (after.tenders - before.tenders) / answered;
      yield single(suite, `processor of its tenders, ${shape}`, 'us/offload', tendersUs);
      yield echoRate;
      yield single(suite, `processor of the bare echo, ${shape}`, 'us/echo', bare.serverUs / Math.max(1, bare.count));
      if (best === undefined || ('p50' in best && rate.p50 > best.p50)) [best, bestEcho] = [rate, echoRate];
    }
    const share = ratio(best, bestEcho, 'offloads / bare echoes, best shape');
    if (share !== undefined) yield share;
  } finally {
    await echo.stop();
  }
}

/** Answers a second with results that are kept, in turns with those that are not. */
export async function* keptResults(rig: BrokerRig, say: Say): AsyncGenerator<Row> {
  const input = inputFile(rig, 'small', KIB_4, 0);
  const shape = ['--connections', '4', '--concurrency', '16'];
  const ways = [
    { name: 'not kept', args: [] },
    { name: 'kept in memory', args: ['--keep', '60s'] },
    { name: 'kept and durable', args: ['--keep', '60s', '--durable'] },
    { name: 'with receipts', args: ['--receipt', join(rig.folder, 'receipt')] },
  ];
  const TURNS = 3;
  const rates = ways.map((): number[] => []);
  const faults = ways.map(() => '');
  for (let turn = 0; turn < TURNS; turn++) {
    for (const [i, { name, args }] of ways.entries()) {
      if (faults[i] !== '') continue;
      say(`${name}, turn ${turn + 1} of ${TURNS}`);
      try {
        const ms = MEASURE_MS / 2;
        rates[i]!.push(
          (await rig.load({ input, ms, budgetMs: BUDGET_MS, args: [...shape, ...args] })).answeredPerSecond,
        );
      } catch (error) {
        faults[i] = String(error);
      }
    }
  }
  const mean = rates.map((all) => all.reduce((sum, one) => sum + one, 0) / Math.max(1, all.length));
  for (const [i, { name }] of ways.entries()) {
    if (faults[i] !== '') {
      yield { suite, name: `results ${name}`, absent: faults[i]! };
      continue;
    }
    yield single(suite, `results ${name}`, '/s', mean[i]!, TURNS);
    if (i > 0)
      yield atLeast(single(suite, `results ${name}, share of the throughput`, '%', (100 * mean[i]!) / mean[0]!), 85);
  }
}
