import type { PlaceKind } from '../../../shared/protocol/place-kind.ts';

/** The cost of an offload at a place of this kind where the configuration names none. Only their order matters. */
export const DEFAULT_COST: Readonly<Record<PlaceKind, number>> = {
  here: 0,
  peer: 0,
  vehicle: 1,
  roadside: 1,
  cell: 2,
  cloud: 3,
};

/** How long work waits at a place, and when that was heard. */
export interface QueueNews {
  readonly queueMs: number;
  /** On the clock of `ChoiceRequest.now`. */
  readonly at: number;
}

/** A place as one task sees it now. Times in milliseconds; every time of day is on the clock of `ChoiceRequest.now`. */
export interface Place {
  /** "here", "broker:rsu-1" */
  readonly id: string;
  readonly kind: PlaceKind;
  /** Undefined: an offload can be sent now. Else why not, for the table: "not connected". */
  readonly unusable?: string | undefined;
  /** High quantile (90 %) of the time to there and back without a payload. */
  readonly roundTripMs: number;
  /** Low quantile (10 %) of the rate, in bytes per millisecond; Infinity: not known, or no link is between. */
  readonly bytesPerMs: number;
  /** Until then earlier payloads occupy the link. */
  readonly busyUntil: number;
  /** Undefined: never heard. */
  readonly news: QueueNews | undefined;
  /** Counts where the news is unknown or older than `NEWS_MS`: how long our own work has usually waited there. */
  readonly usualQueueMs: number;
  /** Own work under way that the news cannot know of. */
  readonly ownQueueMs: number;
  /** High quantile (90 %) of the run time of this digest there; undefined: it never ran there. */
  readonly runMs: number | undefined;
  /** It holds the package of the task, and so can begin at once. */
  readonly hasPackage: boolean;
  /** Bytes of input that it takes for this task. */
  readonly maxInput: number;
  /** How long it will stay in reach; Infinity where neither moves. */
  readonly dwellMs: number;
  /** Relative; the cheapest place that is fast enough is taken. */
  readonly cost: number;
  /** Of its circuit breaker; see `PlaceHealth`. */
  readonly isOut: boolean;
}

/** One offload, as far as the choice needs it. */
export interface ChoiceRequest {
  readonly now: number;
  /** The part of the budget that is left. */
  readonly budgetMs: number;
  readonly inputBytes: number;
  /** That the answer is expected to have; 0: not known. */
  readonly outputBytes: number;
  /** Undefined: every kind. */
  readonly kinds?: readonly PlaceKind[] | undefined;
  /** Undefined: any cost. */
  readonly maxCost?: number | undefined;
  /** Places that it has been at: each is asked once. */
  readonly tried?: ReadonlySet<string> | undefined;
  /** Named by the place that refused it last: goes before the others while feasible. */
  readonly tryPlace?: string | undefined;
  /** Of this vehicle: vehicles that hear the same news differ by it. */
  readonly vehicle: string;
}
