import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../../shared/base/errors.ts';
import { ATTACKS } from '../../test/support/attacks/attacks.ts';
import { atMost, type Row, single } from '../measure.ts';
import type { Say } from '../tenders.ts';
import { type BrokerRig, withRig } from './rig.ts';
import { inputFile, KIB_4, latencyRow, MEASURE_MS, SETTLE_MS, suite } from './setting.ts';

const BUDGET_MS = 2000;
/** The attack has taken hold. */
const LEAD_MS = 2000;
const AIM_TIMES = 3;
const AIM_MEMORY = 1.2;
/** Steady and far below the capacity, so that only the attack makes it wait. */
const VICTIM = ['--rate', '100'];

/** Another tenant's offloads of 4 KiB while one vehicle attacks, each attack with a broker of its own. */
export async function* underAttack(say: Say): AsyncGenerator<Row> {
  for (const name of Object.keys(ATTACKS)) {
    say(`attack: ${name}`);
    try {
      // Collected first: a broker must be stopped whether the reader goes on or not.
      yield* await withRig((rig) => attacked(rig, name));
    } catch (error) {
      yield { suite, name: `another tenant under ${name}`, absent: messageOf(error) };
    }
  }
}

async function attacked(rig: BrokerRig, name: string): Promise<Row[]> {
  const input = inputFile(rig, 'small', KIB_4, 0);
  const load = () => rig.load({ input, ms: MEASURE_MS, budgetMs: BUDGET_MS, args: VICTIM });
  await load(); // warm
  const alone = await load();
  const memoryBefore = rig.memoryKib();
  const attacker = await rig.attack(name);
  await sleep(LEAD_MS);
  const what = `under ${name}`;
  const rows: Row[] = [latencyRow(`a tenant alone, before ${name}`, alone)];
  try {
    const during = await load();
    const peakKib = rig.memoryKib();
    rows.push(latencyRow(`another tenant ${what}`, during));
    const answered = (100 * during.answered) / Math.max(1, during.sent);
    rows.push(single(suite, `answered within ${BUDGET_MS} ms ${what}`, '%', answered, during.sent));
    if (during.answered > 0) {
      const times = during.totalMs.p99 / alone.totalMs.p99;
      rows.push(atMost(single(suite, `p99 ${what} / alone`, 'times', times), AIM_TIMES));
    } else {
      rows.push({ suite, name: `p99 ${what} / alone`, absent: 'nothing was answered: missed' });
    }
    rows.push(single(suite, `memory of the broker ${what}`, 'KiB', peakKib));
  } catch (error) {
    rows.push({ suite, name: `another tenant ${what}`, absent: `missed: ${messageOf(error)}` });
  } finally {
    await attacker.stop();
  }
  if (rig.brokerEnded) return [...rows, { suite, name: `the broker ${what}`, absent: 'missed: it ended' }];
  await sleep(SETTLE_MS);
  const after = single(suite, `memory after ${name} / before`, 'times', rig.memoryKib() / memoryBefore);
  return [...rows, atMost(after, AIM_MEMORY)];
}
