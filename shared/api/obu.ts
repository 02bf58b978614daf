/** JSON answers of an OBU's control API; `shared/api/status.ts` and `manifest.ts` have the others. */
import type { DaemonEvent, WorkloadStatus } from './status.ts';

/** The subject of an event. */
export type EventKind =
  | 'workload'
  | 'step'
  | 'preemption'
  | 'refusal'
  | 'manifest'
  | 'bus'
  | 'camera'
  | 'engine'
  | 'place'
  | 'signal'
  | 'identity';

/**
 * Something that happened on an OBU. `name` is a workload, bus, camera or place; that of the OBU for the others.
 * `GET /v1/events?after=ID&name=NAME`; with `follow=1` one JSON text in each line, for ever.
 */
export type ObuEvent = DaemonEvent<EventKind>;

/** Current resource usage of a container. `GET /v1/usage` */
export interface ContainerUsage {
  readonly workload: string;
  readonly container: string;
  /** Id of the container. */
  readonly id: string;
  readonly image: string;
  /** Milliseconds since 1970 of this measurement. */
  readonly timeMs: number;
  readonly startedAtMs: number;
  /** Seconds of CPU since its start. */
  readonly cpu: { readonly total: number; readonly user: number; readonly system: number };
  readonly throttling: {
    readonly periods: number;
    readonly throttledPeriods: number;
    readonly throttledSeconds: number;
  };
  /** Bytes. `workingSet` is what cannot be given back at once; `limit` is 0 when there is none. */
  readonly memory: {
    readonly usage: number;
    readonly workingSet: number;
    readonly rss: number;
    readonly cache: number;
    readonly limit: number;
  };
  /** CPUs that it may use; 0: no limit. */
  readonly cpuLimit: number;
  /** Processes and threads. */
  readonly threads: number;
}

/** One line that a workload printed. `GET /v1/workloads/NAME/logs?tail=N&follow=1`, one JSON text in each line. */
export interface LogLine {
  /** RFC 3339, as the engine has it, or empty when it is not known. */
  readonly time: string;
  readonly stream: 'stdout' | 'stderr';
  readonly text: string;
  /** Twelve digits of the id of its container: another one after a restart. */
  readonly container: string;
}

/** `GET /v1/grants` */
export interface GrantStatus {
  readonly workload: string;
  readonly kind: 'can' | 'signals' | 'camera' | 'offload';
  /** Bus, camera, or tasks; empty for signals. */
  readonly what: string;
  /** As a manifest says it. */
  readonly may: string;
}

/** `GET /v1/signals?path=PATTERN`; with `follow=1` one JSON text in each line as values come. */
export interface SignalReading {
  readonly path: string;
  /**
   * Null before the first; a list where the data type is one. Text as well for an integer that a number would round
   * (beyond 2^53).
   */
  readonly value: number | boolean | string | readonly (number | boolean | string)[] | null;
  /** ISO 8601, UTC; empty before the first. */
  readonly time: string;
  /**
   * How long ago it came, in milliseconds, whatever the clock says; left out before the first, and where values follow.
   */
  readonly ageMs?: number;
  readonly source: string;
  readonly stale: boolean;
  /** Why it has no value, or only a stale one; left out when it has one, and when nothing feeds it. */
  readonly reason?: string;
}

/** `POST /v1/signals/PATH?timeoutMs=N&wait=0` with `{ "value": … }` */
export interface SignalSetReply {
  readonly path: string;
  /**
   * The value that the vehicle reports then; undefined when nothing acknowledges this actuator, or the caller did not
   * wait.
   */
  readonly acknowledged?: SignalReading | undefined;
}

/** Frames that a container sent on its CAN interface and was not allowed to. */
export interface DeniedIds {
  /** As the grant names it. */
  readonly bus: string;
  /** Hexadecimal, eight digits for 29 bits; with #R for a remote frame; `others` for what is not told apart. */
  readonly id: string;
  readonly frames: number;
}

/** `GET /v1/workloads/NAME` */
export interface Explanation {
  readonly workload: WorkloadStatus;
  /** The requirements of the manifest. */
  readonly wants: {
    /** Bytes and CPUs, as they are counted; `declared` is false for what the manifest does not say. */
    readonly memory: { readonly bytes: number; readonly declared: boolean };
    readonly cpus: { readonly number: number; readonly declared: boolean };
    readonly preemption: string;
    readonly restart: string;
    readonly update: string;
    readonly requires: readonly string[];
    readonly dependsOn: readonly { readonly workload: string; readonly condition: string; readonly state: string }[];
  };
  /** The capacity of the OBU without its reserve, and the part declared by running workloads. */
  readonly room: {
    readonly memory: { readonly total: number; readonly used: number };
    readonly cpus: { readonly total: number; readonly used: number };
    readonly pressure: string;
  };
  readonly containers: readonly {
    readonly name: string;
    readonly id: string;
    readonly state: string;
    readonly health: string;
    readonly image: string;
    /** ISO 8601, UTC; empty when it never was. */
    readonly startedAt: string;
  }[];
  /** Its current usage; undefined when it does not run or the engine does not say. */
  readonly usage?: ContainerUsage | undefined;
  /** Ends in a row, without a good long run between them. */
  readonly failures: number;
  readonly lastEnd?: { readonly at: string; readonly how: string } | undefined;
  readonly preempted?:
    | { readonly at: string; readonly how: string; readonly by: string; readonly why: string }
    | undefined;
  /** The last version that was well, and the one that was taken back. */
  readonly versions: { readonly now: string; readonly good: string; readonly bad: string; readonly badWhy: string };
  readonly grants: readonly GrantStatus[];
  /** CAN frames that it was not let send over its socket or its CAN interface, by reason. */
  readonly denied: Readonly<Record<string, number>>;
  /** Signals that it may read and that have no value now, and why: at most 50, those that lose values first. */
  readonly valueless?: readonly { readonly path: string; readonly reason: string }[];
  /** Those of its CAN interfaces by id; of a flood only the first of each second, so the sum may be less. */
  readonly deniedIds: readonly DeniedIds[];
  /** Of this workload, the oldest first. */
  readonly events: readonly ObuEvent[];
  /** The last lines that it printed. */
  readonly log: readonly LogLine[];
}
