/** For the tests of this room: applies manifests as fast as it can, and says which ones the store has taken. */
import { writeSync } from 'node:fs';
import type { WorkloadRecord } from '../../obu/planner/state.ts';
import { StateStore } from '../../obu/state/state-store.ts';

const store = new StateStore(process.argv[2]!);
store.start();
for (;;) {
  const next = (store.current()?.generation ?? 0) + 1;
  store.apply('car.yaml', `# ${next}\n`.repeat(2000), next);
  store.save(new Map([['app', { restarts: next, failures: next } as WorkloadRecord]]));
  writeSync(1, `${next}\n`);
}
