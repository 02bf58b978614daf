import type { OffloadIsolation } from '../../shared/protocol/offload-request.ts';
import type { ServiceClass } from '../../shared/protocol/service-class.ts';
import type { BrokerOptions } from '../lib/broker-options.ts';

/** Of a load that has neither a number nor a time. */
const DEFAULT_LOAD_MS = 10_000;

/** The options of `kerb offload`. Times in milliseconds. */
export interface OffloadOptions extends BrokerOptions {
  readonly input?: string;
  readonly output?: string;
  readonly receipt?: string;
  readonly trust?: string;
  readonly budget: number;
  readonly class: ServiceClass;
  readonly isolation: OffloadIsolation;
  readonly keep: number;
  readonly durable?: boolean;
  /** Key of the session state that they go with. */
  readonly state?: string;
  readonly offloadId?: string;
  /** Offloads. */
  readonly n?: number;
  readonly rate?: number;
  readonly concurrency?: number;
  readonly connections: number;
  readonly duration?: number;
  readonly o: 'table' | 'json';
}

/** Many offloads are asked for. */
export function isLoad({ n, rate, concurrency, connections, duration }: OffloadOptions): boolean {
  return (n ?? 1) > 1 || rate !== undefined || concurrency !== undefined || connections > 1 || duration !== undefined;
}

/** Milliseconds that a load takes. Infinity: until all are sent. */
export function loadDurationMs({ n, duration }: OffloadOptions): number {
  return duration ?? (n === undefined ? DEFAULT_LOAD_MS : Number.POSITIVE_INFINITY);
}
