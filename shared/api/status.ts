import type { Quantiles } from '../base/rolling.ts';
/**
 * What `GET /v1/status` on a daemon's control socket answers, as JSON. The screen of `kerb sim drive` and every other
 * client read this and nothing else.
 */

export interface RecentError {
  /** ISO 8601, UTC. */
  readonly time: string;
  /** The source of the error: a workload, a bus, a camera, a broker. */
  readonly source: string;
  readonly code: number;
  readonly message: string;
}

/** Something that happened on a daemon. */
export interface DaemonEvent<Kind extends string = string> {
  /** Counts up by one from 1 since the start of the daemon: where one is missing, it was not kept. */
  readonly id: number;
  /** ISO 8601, UTC. */
  readonly time: string;
  readonly kind: Kind;
  /** The subject. */
  readonly name: string;
  /** State word or step; the name of the error for a refusal. */
  readonly word: string;
  /** One sentence. */
  readonly message: string;
  /** How often the same thing happened again, with nothing else of this name between. */
  readonly repeats: number;
}

export interface WorkloadStatus {
  readonly name: string;
  readonly image: string;
  readonly priority: number;
  /** State word: Pending, Running, Stopping, Succeeded, Failed … */
  readonly state: string;
  /** Sub-state in brackets: Ok, Unhealthy, NoCapacity, ExitCode …; empty when there is none. */
  readonly detail: string;
  /** One sentence that says why. */
  readonly reason: string;
  /** State of its update; left out when the version that the manifest asks for runs. */
  readonly update?: 'handing-over' | 'waiting' | 'rolled-back';
  /** So it was before the engine stopped answering; left out: so it is. */
  readonly isOld?: true;
  /** Workloads of higher priority that have its room, so that it does not run; left out: that is not why. */
  readonly displacedBy?: readonly string[];
  /**
   * Milliseconds until something is done about it at the latest, such as after a back-off; left out: nothing is due.
   */
  readonly dueMs?: number;
  readonly restarts: number;
  /** The last line that it printed, to look at; empty before the first. */
  readonly lastLine: string;
}

/** How the recording of a camera is doing. */
export interface RecordingStatus {
  readonly state: 'Recording' | 'Failed';
  /** Empty while it is recording. */
  readonly reason: string;
  readonly folder: string;
  readonly files: number;
  /** Of all its files, those that are locked included. */
  readonly bytes: number;
  readonly lockedBytes: number;
  /** Milliseconds since 1970 of the oldest that is kept; 0 when there is none. */
  readonly oldestMs: number;
  /** Pictures that the encoder was too slow for. */
  readonly lostPictures: number;
  /** Fragments that the disk was too slow or too full for. */
  readonly lostSeconds: number;
  /** How often the condition of its lock has begun to hold. */
  readonly events: number;
}

/** A source of position, heading and speed. */
export interface GpsdStatus {
  /** "host:port" */
  readonly address: string;
  readonly state: 'Fix' | 'NoFix' | 'Disconnected';
  /** Why there is no fix, in a sentence; empty when there is one. */
  readonly reason: string;
  /** Fixes so far. */
  readonly fixes: number;
  /** Lines so far that were not what gpsd may send. */
  readonly invalid: number;
}

export interface ObuStatus {
  readonly vehicle: string;
  readonly obu: string;
  readonly startedAt: string;
  /** The identity of the vehicle; left out when the configuration names none. */
  readonly identity?: {
    /** Valid, ExpiresSoon (within 30 days), Expired, WaitingForClock or Unusable. */
    readonly state: string;
    /** It can be shown to others. */
    readonly good: boolean;
    /** The problem and what to do; empty when there is none. */
    readonly reason: string;
    /** ISO 8601, UTC; empty when no certificate could be read. */
    readonly expiresAt: string;
  };
  /** The API for those who are elsewhere; left out when the configuration asks for none. */
  readonly api?: { readonly listen: string; readonly listening: boolean; readonly reason: string };
  /** The earliest time that it can be. */
  readonly clock: {
    /** ISO 8601, UTC. */
    readonly floor: string;
    /** Source of this bound: build, state or manifest. */
    readonly from: string;
    /** The clock of this machine is before that: it has not been set. */
    readonly behind: boolean;
  };
  readonly engine: {
    readonly kind: 'external' | 'private';
    readonly host: string;
    readonly version: string;
    /** "not answering since …", or what it refuses; empty when it does what it is asked. */
    readonly fault: string;
  };
  /** Capacity of the machine, and the sum of the limits that workloads declare. */
  readonly resources: {
    /** Bytes. */
    readonly memory: { readonly total: number; readonly reserved: number; readonly used: number };
    readonly cpus: { readonly total: number; readonly reserved: number; readonly used: number };
    /** Pressure as text: the kernel's measurements. */
    readonly pressure: string;
  };
  readonly buses: readonly {
    readonly name: string;
    readonly kind: 'socketcan' | 'userspace';
    /** Up, Warning, Passive, BusOff or Down. */
    readonly state: string;
    readonly reason: string;
    readonly framesPerSecond: number;
    /** Share of the bit rate in use, 0..1, over the last second. */
    readonly load: number;
    readonly bitrate: number;
    readonly frames: number;
    readonly dropped: number;
    /** Error frames of its controller. */
    readonly errorFrames: number;
  }[];
  readonly signals: {
    readonly paths: number;
    readonly withValue: number;
    /** Paths whose last value is older than its time to live, and no other source has a fresh one. */
    readonly stale: number;
    /** CAN values so far that their database calls none (out of range, SNA). */
    readonly invalid: number;
    /** CAN values so far that have no meaning in VSS. */
    readonly ignored: number;
    /** Problems in DBC, mapping and default files; each affects only what it names; the first 100. */
    readonly warnings?: readonly string[];
    readonly warningCount?: number;
    /** Left out when none is configured. */
    readonly gpsd?: GpsdStatus;
  };
  readonly cameras: readonly {
    readonly name: string;
    readonly source: string;
    readonly simulated: boolean;
    readonly state: string;
    readonly reason: string;
    readonly fps: number;
    readonly consumers: number;
    /** Pictures that a conversion or the recording was too slow for. */
    readonly lost: number;
    /** Undefined when it is not recorded. */
    readonly recording?: RecordingStatus | undefined;
  }[];
  readonly workloads: readonly WorkloadStatus[];
  readonly offloads: {
    readonly ok: number;
    readonly failed: number;
    readonly inFlight: number;
    /** Those that succeeded, over the last five seconds. */
    readonly perSecond: number;
    /** Those that failed, over the last five seconds. */
    readonly failedPerSecond: number;
    /** Of all that ended, those that failed with the time until they did. */
    readonly total: Quantiles;
    /** Of those that were answered with a result. */
    readonly queue: Quantiles;
    readonly run: Quantiles;
  };
  readonly places: readonly {
    readonly place: string;
    readonly url: string;
    /** Connected, and it has said something lately. */
    readonly connected: boolean;
    readonly reason: string;
    /** For how long nothing has come from it, in milliseconds; left out while it answers, and before it ever did. */
    readonly silentMs?: number;
    /** It is being drained: others are tried first. Left out: it takes offloads. */
    readonly draining?: true;
  }[];
  readonly errors: readonly RecentError[];
}

/** The service of a broker: it takes offloads, or is being drained. `GET /v1/drain`, and what `POST` and `DELETE` there answer. */
export interface DrainStatus {
  /** `drained`: nothing waits or runs any more. */
  readonly state: 'serving' | 'draining' | 'drained';
  /** ISO 8601, UTC; empty while it serves. */
  readonly since: string;
  /** Name of the caller that asked for it: an operator, `control socket`, or a signal; empty while it serves. */
  readonly by: string;
  /** Milliseconds until the time is over that vehicles were told. */
  readonly endsInMs: number;
  /** Brokers that vehicles are sent to. */
  readonly tryBrokers: readonly string[];
  readonly waiting: number;
  readonly running: number;
}

export interface BrokerStatus {
  readonly broker: string;
  readonly startedAt: string;
  readonly url: string;
  readonly clients: number;
  readonly queued: number;
  readonly running: number;
  readonly drain: DrainStatus;
  readonly offloads: {
    readonly ok: number;
    readonly refused: number;
    readonly failed: number;
    readonly perSecond: number;
  };
  readonly packages: readonly {
    readonly digest: string;
    readonly name: string;
    readonly version: string;
    /** The state that a new offload meets: Waiting, Busy, Loading, Stopped (none is loaded), Dead or Quarantined. */
    readonly tender: string;
    readonly tenders: number;
    /** Memory of its waiting tenders, measured or estimated, in bytes. */
    readonly memory: number;
    /** Why it cannot be run now; empty when it can. */
    readonly reason: string;
    readonly isolation: string;
    /**
     * Isolation `process`: `tender` when one process runs all its calls and is put back after each, `call` when each has a
     * process of its own, which is slower. Otherwise empty; left out by brokers that are older.
     */
    readonly processPer?: string;
    readonly calls: number;
    /** Total computing time of all calls, in milliseconds. */
    readonly cpuMs: number;
    /** Most of its own memory that a call of it had in use, in bytes. */
    readonly peakMemory: number;
    readonly restarts: number;
    /** The tenant that pushed it, and when (ISO 8601, UTC); left out for a package in the packages directory. */
    readonly pushed?: {
      readonly tenant: string;
      readonly vehicle: string;
      readonly bytes: number;
      readonly at: string;
    };
  }[];
  /** What is kept for callers that ask again. Left out by brokers that are older. */
  readonly results?: {
    readonly count: number;
    readonly memoryBytes: number;
    readonly diskBytes: number;
    /** Why nothing is written to the disk; empty: it is. */
    readonly reason: string;
  };
  /** Left out where no policy file was given, and by brokers that are older. */
  readonly policy?: {
    readonly file: string;
    /** When what counts now was read (ISO 8601, UTC). */
    readonly loadedAt: string;
    /** Why the file as it is now is not used; empty: it is. */
    readonly reason: string;
  };
  /** Neighbours of the policy; left out when it names none, and by brokers that are older. */
  readonly neighbours?: { readonly count: number; readonly connected: number };
  /** Packages that cannot be used. */
  readonly rejected?: readonly { readonly path: string; readonly reason: string }[];
  readonly errors: readonly RecentError[];
}
