import type { Isolation } from '../../broker/tenders/process/tender.ts';
import { TenderProcess } from '../../broker/tenders/process/tender-process.ts';
import { silentLog } from '../../shared/base/log.ts';
import { taskImage } from './support-paths.ts';

// Node -> tender -> Node with the task `echo`, one call after the other, in both isolations or in the one that is named:
// node_modules/.bin/node test/tender/latency.ts [process|vm]
const sizes: readonly [number, number][] = [
  [64, 5000],
  [4096, 5000],
  [65_536, 3000],
  [1 << 20, 1000],
];

const at = (sorted: Float64Array, share: number): string =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!.toFixed(3);

async function measure(isolation: Isolation): Promise<void> {
  const tender = new TenderProcess({ imagePath: taskImage('echo'), log: silentLog(), isolation });
  const began = performance.now();
  await tender.start();
  console.log(`start ${(performance.now() - began).toFixed(1)} ms; ${tender.confinement}`);
  for (const [size, count] of sizes) {
    const input = Buffer.alloc(size, 7);
    const total = new Float64Array(count);
    const run = new Float64Array(count);
    for (let i = 0; i < count; i++) {
      const start = performance.now();
      const outcome = await tender.call(input, 5_000);
      total[i] = performance.now() - start;
      run[i] = outcome.runMs;
      if (outcome.outcome !== 'done' || outcome.output.length !== size) throw new Error(JSON.stringify(outcome));
    }
    total.sort();
    run.sort();
    console.log(
      `${size} bytes, ${count} calls: p50 ${at(total, 0.5)} ms, p99 ${at(total, 0.99)} ms, max ${at(total, 1)} ms; run p50 ${at(run, 0.5)} ms`,
    );
  }
  await tender.stop();
}

const [only] = process.argv.slice(2);
for (const isolation of ['process', 'vm'] as const) {
  if (only === undefined || only === isolation) await measure(isolation);
}
