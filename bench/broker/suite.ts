import type { Row } from '../measure.ts';
import type { Say } from '../tenders.ts';
import { admissionCost } from './admission-cost.ts';
import { idleVehicles } from './idle-vehicles.ts';
import { overload } from './overload.ts';
import { BrokerRig } from './rig.ts';
import { keptResults, throughput } from './throughput.ts';
import { underAttack } from './under-attack.ts';

/** A broker at full load, beyond it, under attack and at rest. */
export async function* brokerSuite(say: Say): AsyncGenerator<Row> {
  yield* admissionCost(say);
  for (const part of [throughput, overload, keptResults]) {
    const rig = new BrokerRig();
    try {
      await rig.start();
      yield* part(rig, say);
    } finally {
      await rig.stop();
    }
  }
  yield* underAttack(say);
  yield* idleVehicles(say);
}
