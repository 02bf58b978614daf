import type { Socket } from 'socket.io';
import type { KerbError } from '../../shared/base/errors.ts';
import type { VehiclePrincipal } from '../../shared/identity/identity.ts';
import type { V2eEvent } from '../../shared/protocol/v2e-parser.ts';
import type { Sender } from './senders.ts';
import type { Turns, Waiting } from './turns.ts';
import type { VehicleLink } from './vehicle-link.ts';

/** Who a connection belongs to, and until when that is so; `version` is of the protocol. */
export interface ConnectedVehicle extends VehiclePrincipal {
  readonly version: number;
}

/** One message with an event, whole. */
export interface Request extends Waiting {
  readonly source: VehicleLink;
  readonly message: Buffer;
}

type NoEvents = Record<string, never>;
export type BrokerEvents = {
  hello: (announcement: Uint8Array) => void;
  drain: (notice: Uint8Array) => void;
};
export type ClientSocket = Socket<NoEvents, BrokerEvents, NoEvents, NoEvents>;

/** What a link asks of the rest of the ingress. */
export interface LinkOwner {
  readonly turns: Turns<Sender, Request>;
  /** Handles one event of a link that is served. @param quota that it was over for too long; empty: none */
  handle(link: VehicleLink, event: V2eEvent, arrivedAt: number, quota: string): void;
  refused(link: VehicleLink, problem: KerbError): void;
  /** The link is gone; `open` are the ids of the offloads that nobody has answered. */
  lost(link: VehicleLink, open: readonly string[]): void;
}

/** What a connection has shown in its handshake. */
export interface Shown {
  readonly sender: Sender;
  readonly expiresAt: number;
}
