import type { Socket } from 'socket.io';
import type { VehiclePrincipal } from '../../shared/identity/identity.ts';
import type { Sender } from './limits/senders.ts';

/** The vehicle that a connection belongs to, and until when that is so; `version` is of the protocol. */
export interface ConnectedVehicle extends VehiclePrincipal {
  readonly version: number;
  /** It takes outputs in chunks. */
  readonly chunks: boolean;
}

type NoEvents = Record<string, never>;
export type BrokerEvents = {
  hello: (announcement: Uint8Array) => void;
  drain: (notice: Uint8Array) => void;
};
export type ClientSocket = Socket<NoEvents, BrokerEvents, NoEvents, NoEvents>;

/** The vehicle that a connection has shown in its handshake, and until when its certificate is valid. */
export interface Shown {
  readonly sender: Sender;
  readonly expiresAt: number;
}
