/** How a tender confines its unikernel. */
export type Isolation = 'process' | 'vm';

/** What may be asked of a tender: `auto` is `vm` where KVM proves itself, else `process`. */
export const WISHED_ISOLATIONS = ['process', 'vm', 'auto'] as const;
export type WishedIsolation = (typeof WISHED_ISOLATIONS)[number];

export type TenderState = 'Loading' | 'Waiting' | 'Busy' | 'Stopped' | 'Dead';

/**
 * One call of a unikernel, and everything that can come of it. Times in milliseconds: `runMs` by the wall clock, `cpuMs` of
 * the guest's own process or vCPU.
 */
export type TenderOutcome =
  | {
      readonly outcome: 'done';
      /** What the task returned; 0 is success, anything else is the task's own refusal of its input. */
      readonly status: number;
      readonly output: Buffer;
      readonly runMs: number;
      readonly cpuMs: number;
      readonly log: string;
    }
  | {
      readonly outcome: 'aborted';
      readonly code: number;
      readonly runMs: number;
      readonly cpuMs: number;
      readonly log: string;
    }
  | { readonly outcome: 'deadline'; readonly runMs: number; readonly cpuMs: number; readonly log: string }
  | {
      readonly outcome: 'fault';
      readonly fault: string;
      readonly runMs: number;
      readonly cpuMs: number;
      readonly log: string;
    }
  | {
      readonly outcome: 'bad-output';
      readonly reason: string;
      readonly runMs: number;
      readonly cpuMs: number;
      readonly log: string;
    };

/** What the ELF notes of an image declare; checked by the tender, never believed by the broker before that. */
export interface ImageInfo {
  readonly name: string;
  /** Bytes of guest memory for data, heap and stack. */
  readonly memory: number;
  readonly maxInput: number;
  readonly maxOutput: number;
}

/** The process that holds one unikernel and nothing else. One call at a time. */
export interface Tender {
  /** Known after `start()`. */
  readonly isolation: Isolation;
  readonly state: TenderState;
  readonly pid: number | undefined;
  /** Known after `start()`. */
  readonly image: ImageInfo;
  /** Starts the process, loads the image, waits until it is ready. @throws KerbError ImageRefused | TenderUnavailable */
  start(): Promise<void>;
  /** @throws KerbError TenderDied | TenderInputTooLarge; every end of the guest itself is an outcome. */
  call(input: Uint8Array, budgetMs: number): Promise<TenderOutcome>;
  /** Ends the process, at once when it is busy. */
  stop(): Promise<void>;
  /** Called once when the process ended without being asked to. */
  onDeath(listener: (reason: string) => void): void;
}
