/** What an offload may demand of the place where it runs. */
export type DemandedIsolation = 'any' | 'vm';

/** One offload as a workload asks for it. */
export interface OffloadRequest {
  /** Chosen by the workload, unique within the tenant; the same id is the same offload. */
  readonly id: string;
  /** "sha256:…" of the task package. */
  readonly taskDigest: string;
  readonly input: Uint8Array;
  /** Milliseconds that remain now. */
  readonly budgetMs: number;
  /** What the workload gave, for sentences, when some of it is kept for the way back to the workload. */
  readonly askedMs?: number;
  /** 0..1000, the priority of the workload. */
  readonly priority: number;
  /** `vm`: refused by a place that would run it otherwise. Default `any`. */
  readonly isolation?: DemandedIsolation;
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

export interface PlaceStatus {
  readonly place: string;
  readonly url: string;
  /** Connected, and it has said something lately. */
  readonly connected: boolean;
  /** Why not, when not connected. */
  readonly reason: string;
  /** For how long nothing has come from it, in milliseconds; left out while it answers, and before it ever did. */
  readonly silentMs?: number;
}

/** Finds a place for an offload and follows it home. */
export interface Offloader {
  start(): Promise<void>;
  stop(): Promise<void>;
  /**
   * Settles within the budget (plus the time that a timer needs), whatever the network does.
   * @throws KerbError NoBroker | BrokerLost | BudgetExhausted | OffloadRefused (context.refusal: code of the broker)
   */
  offload(request: OffloadRequest): Promise<OffloadResult>;
  places(): readonly PlaceStatus[];
}
