/** One row of the table of places. Times in milliseconds. */
export interface ShownPlace {
  /** "broker:rsu-1" */
  readonly place: string;
  readonly kind: string;
  readonly cost: number;
  /** From the choice to the expected answer; null: it could not be asked. */
  readonly finishMs: number | null;
  /** As learnt; 0: not known. */
  readonly roundTripMs: number;
  /** As learnt; null: not known. */
  readonly runMs: number | null;
  /** "feasible", or why it was not taken. */
  readonly verdict: string;
}

/** How the place of one of the newest offloads was chosen. `GET /v1/offload-decision?id=ID`; ID `last`: the newest */
export interface OffloadDecision {
  readonly id: string;
  readonly taskDigest: string;
  readonly budgetMs: number;
  readonly inputBytes: number;
  /** ISO 8601. */
  readonly at: string;
  /** One for each place that it was sent to; the last may have no place. */
  readonly attempts: readonly {
    /** Empty: to none. */
    readonly place: string;
    readonly reason: string;
    /** Milliseconds of the budget that were left. */
    readonly leftMs: number;
    /** "answered", or the error; empty while it is there. */
    readonly outcome: string;
    readonly places: readonly ShownPlace[];
  }[];
}
