import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../../shared/base/errors.ts';
import { atMost, type Row, single } from '../measure.ts';
import type { Say } from '../tenders.ts';
import { withRig } from './rig.ts';
import { inputFile, KIB_4, latencyRow, MEASURE_MS, suite } from './setting.ts';

const COUNTS = [1000, 5000];
const AIM_KIB = 30;
const REST_MS = 5000;

/** Memory of a broker for each vehicle that asks for nothing, and one that works beside them. */
export async function* idleVehicles(say: Say): AsyncGenerator<Row> {
  for (const count of COUNTS) {
    const what = `${count.toLocaleString('en-US')} idle vehicles`;
    say(what);
    try {
      yield* await withRig(
        async (rig): Promise<Row[]> => {
          const input = inputFile(rig, 'small', KIB_4, 0);
          const load = () => rig.load({ input, ms: MEASURE_MS, budgetMs: 2000, args: ['--rate', '100'] });
          const alone = await load();
          await sleep(REST_MS);
          const before = rig.memoryKib();
          await rig.idle(count);
          await sleep(REST_MS);
          const each = (rig.memoryKib() - before) / count;
          const beside = await load();
          return [
            atMost(single(suite, `memory of one of ${what}`, 'KiB', each, count), AIM_KIB),
            latencyRow(`a tenant alone, before ${what}`, alone),
            latencyRow(`a tenant beside ${what}`, beside),
          ];
        },
        ...['--max-clients', String(2 * count)],
      );
    } catch (error) {
      yield { suite, name: `memory of one of ${what}`, absent: messageOf(error) };
    }
  }
}
