import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { BenchBroker } from './broker/bench-broker.ts';
import { atMost, type Row, summarise } from './measure.ts';
import type { Say } from './tenders.ts';

const suite = 'offload';
const LARGE = 16 * 1024 * 1024;
const MEASURE_MS = 6000;
const EVERY_MS = 5;
const AIM_MS = 10;

/** The control path beside inputs and outputs of 16 MiB, one after the other: on the same connection, and on another one. */
export async function* largePayloads(say: Say): AsyncGenerator<Row> {
  const broker = new BenchBroker();
  try {
    await broker.start('large', 'bench/tasks');
    const other = await broker.client();
    const input = randomBytes(LARGE);
    const alone = await control(broker, other);
    yield summarise(suite, 'small offload alone, same connection', 'ms', alone.offload);
    yield summarise(suite, 'describe alone, another connection', 'ms', alone.describe);
    say('16 MiB back and forth, and small messages beside it');
    const large: number[] = [];
    let isOver = false;
    const beside = (async () => {
      while (!isOver) {
        const before = performance.now();
        const { output } = await broker.call(input);
        large.push(performance.now() - before);
        if (Buffer.compare(output, input) !== 0) throw new Error('16 MiB came back changed');
      }
    })();
    const besides = await control(broker, other).finally(() => {
      isOver = true;
    });
    await beside;
    other.close();
    yield summarise(suite, 'offload, 16 MiB', 'ms', large);
    yield atMost(summarise(suite, 'small offload beside 16 MiB, same connection', 'ms', besides.offload), AIM_MS);
    yield atMost(summarise(suite, 'describe beside 16 MiB, another connection', 'ms', besides.describe), AIM_MS);
  } finally {
    await broker.stop();
  }
}

async function control(broker: BenchBroker, other: Awaited<ReturnType<BenchBroker['client']>>) {
  const small = randomBytes(64);
  const offload: number[] = [];
  const describe: number[] = [];
  const timed = async (into: number[], act: () => Promise<unknown>) => {
    const before = performance.now();
    await act();
    into.push(performance.now() - before);
  };
  const until = performance.now() + MEASURE_MS;
  while (performance.now() < until) {
    await timed(offload, () => broker.call(small));
    await timed(describe, () => other.describe({ taskDigest: broker.digest, name: '', range: '' }));
    await sleep(EVERY_MS);
  }
  return { offload, describe };
}
