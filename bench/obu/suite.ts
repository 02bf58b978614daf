import type { Row } from '../measure.ts';
import type { Say } from '../tenders.ts';
import { cameraLatency } from './camera.ts';
import { canToReaders, routerAlone } from './can.ts';
import { deaths } from './deaths.ts';
import { decodeRate } from './decode.ts';
import { idleAndApply } from './idle.ts';

/** Costs of an OBU at rest and under load. */
export async function* obuSuite(say: Say): AsyncGenerator<Row> {
  yield* idleAndApply(say);
  yield* deaths(say);
  yield* cameraLatency(say);
  yield* decodeRate(say);
  yield* routerAlone(say);
  yield* canToReaders(say);
}
