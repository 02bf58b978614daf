import type { CanFilter } from '../../shared/can/filter.ts';
import type { PlaceKind } from '../../shared/protocol/place-kind.ts';
import type { Condition } from '../../shared/vss/condition.ts';
import type { SignalScope } from '../../shared/vss/scopes.ts';

/** What the OBU does when the container of a workload has ended. Compose's words. */
export type RestartPolicy =
  | { readonly policy: 'no' | 'always' | 'unless-stopped' }
  | { readonly policy: 'on-failure' /** Undefined: no limit. */; readonly maxRetries: number | undefined };

/** One kind of frame that a workload may send. */
export interface CanWrite {
  readonly id: number;
  /** 29-bit id. */
  readonly ext: boolean;
  /** Data bytes that it must have; undefined: any. */
  readonly length: number | undefined;
  /** Frames of this id per second; undefined: no limit of its own. */
  readonly maxPerSecond: number | undefined;
}

export interface CanGrant {
  readonly bus: string;
  readonly read: readonly CanFilter[];
  /** Empty: the workload may send nothing. */
  readonly write: readonly CanWrite[];
  /** How the frames come in: on the gateway's socket, or on a CAN interface in the container's network namespace. */
  readonly as: 'socket' | 'interface';
  /** Has to hold while the workload writes; undefined: nothing has to. */
  readonly when: Condition | undefined;
}

export interface CameraGrant {
  readonly name: string;
  /** Pictures per second that one subscription gets at most, above 0. */
  readonly maxFps: number;
}

export interface OffloadGrant {
  /** Names of tasks, as in the OBU's configuration. */
  readonly tasks: readonly string[];
  /** Largest budget of one offload, in milliseconds. */
  readonly maxBudgetMs: number;
  /** Kinds of places where its offloads may run; undefined: every kind. */
  readonly places?: readonly PlaceKind[] | undefined;
  /** Of a place; undefined: any. */
  readonly maxCost?: number | undefined;
  /** Keys of session state that its offloads may go with; undefined: none. */
  readonly state?: readonly string[] | undefined;
}

/**
 * What one workload may touch. Everything that is not in here is refused. In JSON, which is hashed and kept, scopes, filters
 * and conditions are the texts that the manifest has; stored-grants.ts reads them back.
 */
export interface Grants {
  /** Sorted by their texts. */
  readonly signals: readonly SignalScope[];
  readonly can: readonly CanGrant[];
  readonly cameras: readonly CameraGrant[];
  readonly offload: OffloadGrant | undefined;
}

/** A limit of the kernel on what each process may use; -1 is no limit. */
export interface Ulimit {
  readonly soft: number;
  readonly hard: number;
}

/** How the engine finds out whether a running container is well. Times in milliseconds. */
export interface HealthCheck {
  /**
   * As the engine takes it: `['CMD', program, …]`, `['CMD-SHELL', line]`, or `['NONE']` to disable that of the image.
   */
  readonly test: readonly string[];
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly retries: number;
  /** Failures in this time after the start do not count. */
  readonly startPeriodMs: number;
}

/** Another workload of the same manifest that has to have come this far before this one is started. */
export interface Dependency {
  readonly workload: string;
  readonly condition: 'started' | 'healthy' | 'completed';
}

export interface UpdatePolicy {
  /** `hand-over`: the new container has to be up (and healthy) before the old one is stopped. */
  readonly strategy: 'kill-then-start' | 'hand-over';
  readonly rollback: 'on-unhealthy' | 'never';
  /** `parked`: a new image or manifest waits until the vehicle stands. */
  readonly when: 'now' | 'parked';
}

/** A container that an OBU keeps running: one service of the manifest, checked and normalised. */
export interface Workload {
  readonly name: string;
  readonly image: string;
  /** Undefined: as the image says. */
  readonly command: readonly string[] | undefined;
  readonly entrypoint: readonly string[] | undefined;
  /** Sorted by name. */
  readonly environment: Readonly<Record<string, string>>;
  readonly restart: RestartPolicy;
  /** Bytes; undefined: no limit. */
  readonly memLimit: number | undefined;
  /** Bytes that are taken from it last when memory runs short; undefined: none. */
  readonly memReservation: number | undefined;
  /** CPUs, may be a fraction; undefined: no limit. */
  readonly cpus: number | undefined;
  /** CPUs that it may run on, "0,2-3"; undefined: all. */
  readonly cpuset: string | undefined;
  /** Processes and threads that it may have. */
  readonly pidsLimit: number;
  /** By the kernel's name of the limit, sorted. */
  readonly ulimits: Readonly<Record<string, Ulimit>>;
  /** Bytes of /dev/shm; undefined: as the engine has it. */
  readonly shmSize: number | undefined;
  /** Folders in memory with the options of their mount, "mode=1777,size=67108864"; sorted by path. */
  readonly tmpfs: Readonly<Record<string, string>>;
  /** USER or USER:GROUP; undefined: as the image says. */
  readonly user: string | undefined;
  readonly workingDir: string | undefined;
  /** True when a small init is the first process. */
  readonly init: boolean;
  readonly hostname: string | undefined;
  /** Sorted by name. */
  readonly labels: Readonly<Record<string, string>>;
  /** Undefined: as the image says. */
  readonly healthcheck: HealthCheck | undefined;
  /** Sorted by name. */
  readonly dependsOn: readonly Dependency[];
  /** Signal that asks it to end, `SIGTERM`; undefined: as the image says. */
  readonly stopSignal: string | undefined;
  /** Milliseconds from that signal to SIGKILL. */
  readonly stopGraceMs: number;
  /** 0..1000; the higher one wins. */
  readonly priority: number;
  /** The preemption mode: how room may be made for a workload of higher priority. */
  readonly preemption: 'freeze' | 'stop' | 'never';
  /** Whether the workload may be outsourced to a peer. */
  readonly outsource: 'allowed' | 'never' | 'preferred';
  /** The devices that the OBU that runs it must have: "camera/front", "bus/can0". Sorted. */
  readonly requires: readonly string[];
  readonly update: UpdatePolicy;
  /** Bytes that it may keep in its /data; undefined: what the OBU gives everyone. */
  readonly dataLimit: number | undefined;
  readonly grants: Grants;
}
