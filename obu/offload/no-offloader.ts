import { ErrorCode, KerbError } from '../../shared/base/errors.ts';
import type { OffloadResult, PlaceStatus } from '../../shared/v2e-client/offload-result.ts';
import type { StateEntry } from '../../shared/v2e-client/state-requests.ts';
import type { Offloader } from './offloader.ts';

/** Of an OBU whose configuration names no broker. */
export class NoOffloader implements Offloader {
  async start(): Promise<void> {}

  async stop(): Promise<void> {}

  async offload(): Promise<OffloadResult> {
    throw namesNone();
  }

  async useState(): Promise<StateEntry> {
    throw namesNone();
  }

  cancel(): void {}

  places(): readonly PlaceStatus[] {
    return [];
  }
}

function namesNone(): KerbError {
  return new KerbError(ErrorCode.NoBroker, 'the configuration of this OBU names no broker; list one under `brokers`');
}
