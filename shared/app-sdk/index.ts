/**
 * The library that a workload uses in its container on a Kerbside OBU.
 *
 * ```ts
 * import { connect } from '@kerbside/app-sdk';
 *
 * const obu = await connect();
 * for await (const values of obu.signals(['Vehicle.Speed'], { minIntervalMs: 1000 })) console.log(values);
 * ```
 */

export { ErrorCode, errorName, isKerbError, KerbError } from '../base/errors.ts';
export type { CanFrame } from '../can/frame.ts';
export { type ConnectOptions, connect } from './connect.ts';
export type { ItemStream } from './item-stream.ts';
export type {
  BusState,
  CanBatch,
  CanGrant,
  CanWriteGrant,
  FrameToSend,
  Grants,
  LeafValue,
  OffloadOutcome,
  Picture,
  PictureFormat,
  Receipt,
  SignalDatum,
  SignalValue,
  StateEntry,
} from './messages.ts';
export type { Obu } from './obu.ts';
export type { SessionState } from './state.ts';
