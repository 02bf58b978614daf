/** What the OBU does when the container of a workload has ended. Compose's words. */
export type RestartPolicy =
  | { readonly policy: 'no' | 'always' | 'unless-stopped' }
  | { readonly policy: 'on-failure' /** Undefined: no limit. */; readonly maxRetries: number | undefined };

export interface CanGrant {
  readonly bus: string;
  /** can-utils grammar, "id:mask" or "id~mask". */
  readonly read: readonly string[];
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
}

/** What one workload may touch. Everything that is not in here is refused. */
export interface Grants {
  /** Scopes, "read:Vehicle.Speed". */
  readonly signals: readonly string[];
  readonly can: readonly CanGrant[];
  readonly cameras: readonly CameraGrant[];
  readonly offload: OffloadGrant | undefined;
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
  /** CPUs, may be a fraction; undefined: no limit. */
  readonly cpus: number | undefined;
  /** 0..1000; the higher one wins. */
  readonly priority: number;
  readonly grants: Grants;
}
