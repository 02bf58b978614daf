/** JSON answers of the manifest routes on an OBU's control socket. */

export interface GenerationSummary {
  readonly generation: number;
  readonly file: string;
  /** ISO 8601, UTC. */
  readonly appliedAt: string;
  /** All of its workloads were well for a while. */
  readonly good: boolean;
}

/** `GET /v1/manifest` */
export interface ManifestReply extends GenerationSummary {
  readonly text: string;
  /** Those that are kept, newest first. */
  readonly generations: readonly GenerationSummary[];
}

export interface ManifestChange {
  readonly workload: string;
  /** `replaced`: by another container; `adjusted`: its container stays, its grants or its priority are others. */
  readonly change: 'added' | 'removed' | 'replaced' | 'adjusted' | 'unchanged';
}

/** `POST /v1/manifest`, `POST /v1/rollback` */
export interface AppliedReply {
  readonly generation: number;
  readonly file: string;
  readonly changes: readonly ManifestChange[];
}

/** `POST /v1/manifest?dryRun=1` */
export interface DryRunReply {
  readonly changes: readonly ManifestChange[];
  /** The steps that the planner would do next. */
  readonly steps: readonly { readonly step: string; readonly workload: string; readonly why: string }[];
  /** Workloads that these steps would not get to run, and why not. */
  readonly waiting: readonly {
    readonly workload: string;
    /** As its manifest names it. */
    readonly image?: string;
    readonly state: string;
    readonly detail: string;
    readonly reason: string;
  }[];
}
