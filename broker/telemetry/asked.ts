import type { Deadline } from '../../shared/base/deadline.ts';
import type { OffloadIsolation } from '../../shared/protocol/offload-request.ts';
import type { ServiceClass } from '../../shared/protocol/service-class.ts';

/** One request, without its input. */
export interface Asked {
  readonly id: string;
  readonly tenant: string;
  readonly vehicle: string;
  readonly digest: string;
  /** `unknown` when this broker has no such package. */
  readonly task: string;
  readonly version: string;
  readonly serviceClass: ServiceClass;
  readonly isolation: OffloadIsolation;
  readonly deadline: Deadline;
  /** Of its input. */
  readonly bytes: number;
  /** Hexadecimal; undefined unless inputs are hashed. */
  readonly sha256: string | undefined;
}
