import type { Row } from './measure.ts';
import { cameraLatency } from './obu-camera.ts';
import { canToReaders, routerAlone } from './obu-can.ts';
import { deaths } from './obu-deaths.ts';
import { decodeRate } from './obu-decode.ts';
import { idleAndApply } from './obu-idle.ts';
import type { Say } from './tenders.ts';

/** What an OBU costs, and what it can bear. */
export async function* obuSuite(say: Say): AsyncGenerator<Row> {
  yield* idleAndApply(say);
  yield* deaths(say);
  yield* cameraLatency(say);
  yield* decodeRate(say);
  yield* routerAlone(say);
  yield* canToReaders(say);
}
