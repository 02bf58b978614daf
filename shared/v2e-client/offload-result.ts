import type { ServiceClass } from '../protocol/service-class.ts';

/** How a caller of version 2 wants its offload to be treated. A broker of version 1 hears nothing of it. */
export interface CallerTerms {
  readonly serviceClass: ServiceClass;
  /** Milliseconds that the result is kept for a caller that is away; 0: cancelled when the connection is lost. */
  readonly keepMs: number;
  /** A kept result survives the death of the broker. */
  readonly durable: boolean;
  readonly wantReceipt?: boolean;
  /** The state of a session that it goes with; undefined: none. A broker that does not know of it is not asked. */
  readonly state?: SessionReference | undefined;
}

export interface SessionReference {
  /** Id of the broker that keeps it. */
  readonly home: string;
  readonly key: string;
  /** Whose key it is, where another tenant shares it; left out: the caller's own. */
  readonly tenant?: string | undefined;
}

export interface OffloadResult {
  readonly output: Uint8Array;
  /** "broker:rsu-1" */
  readonly place: string;
  readonly isolation: string;
  /** Milliseconds: waiting at the place, inside the unikernel, and as the OBU saw the whole. */
  readonly queueMs: number;
  readonly runMs: number;
  readonly totalMs: number;
}

/** The same with the rest of a broker's answer. */
export interface BrokerResult extends OffloadResult {
  /** Making a tender ready, handing over to it and back, in milliseconds. */
  readonly startMs: number;
  /** It comes from the results that are kept: this request did not run it. */
  readonly kept: boolean;
  /** An encoded SignedReceipt, when it was asked for. */
  readonly receipt: Uint8Array | undefined;
}

export interface PlaceStatus {
  readonly place: string;
  readonly url: string;
  /** Connected, and it has said something lately. */
  readonly connected: boolean;
  /** Why not, when not connected. */
  readonly reason: string;
  /** For how long nothing has come from it, in milliseconds; left out while it answers, and before it ever did. */
  readonly silentMs?: number;
  /** It is being drained: others are tried first. Left out: it takes offloads. */
  readonly draining?: true;
}
