import type { IncomingMessage } from 'node:http';
import type { TLSSocket } from 'node:tls';
import type { Socket } from 'socket.io';
import type { Principal, VehiclePrincipal } from '../../shared/identity/identity.ts';
import type { Sender } from './limits/senders.ts';

/** The vehicle that a connection belongs to, and until when that is so; `version` is of the protocol. */
export interface ConnectedVehicle extends VehiclePrincipal {
  readonly version: number;
  /** It takes outputs in chunks. */
  readonly chunks: boolean;
}

/** Takes brokers that have come to the port of vehicles. */
export interface NeighbourDoor {
  /** True: the connection is theirs, and its upgrade goes to `upgrade`. */
  admits(principal: Principal, socket: TLSSocket): boolean;
  /** False: it is not one that was admitted. */
  upgrade(request: IncomingMessage, socket: TLSSocket, head: Buffer): boolean;
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

/** An offload that a link has not answered yet. */
export interface OpenOffload {
  readonly id: string;
  readonly ack: number;
  readonly arrivedAt: number;
  readonly bytes: number;
}

/** Answers an offload, once. @param size of what `encode` makes, where that may be large */
export type LinkAnswer = (encode: (heldMs: number) => Uint8Array, size?: number) => void;
