/** How a tender confines its unikernel. */
export type Isolation = 'process' | 'vm';

/** What may be asked of a tender: `auto` is `vm` where KVM proves itself, else `process`. */
export const WISHED_ISOLATIONS = ['process', 'vm', 'auto'] as const;
export type WishedIsolation = (typeof WISHED_ISOLATIONS)[number];

export type TenderState = 'Loading' | 'Waiting' | 'Busy' | 'Stopped' | 'Dead';

/** What one call took, whatever came of it; waiting for its turn is not in it. */
export interface CallUse {
  /** By the wall clock, milliseconds. */
  readonly runMs: number;
  /** Of the guest's own process or vCPU, milliseconds. */
  readonly cpuMs: number;
  /**
   * Most of the guest's own memory (data, TLS, stack, heap) that it had in use, in bytes, whole pages; never less than it
   * had in isolation `process` and above 1 MiB of declared memory. Up to that, `vm` does not see a page that was used and
   * then put back as it was. How it is counted: `struct ending` in `unikernel/tender/isolation.h`.
   */
  readonly peakMemory: number;
}

/** One call of a unikernel, and everything that can come of it. */
export type TenderOutcome = CallUse & { readonly log: string } & (
    | {
        readonly outcome: 'done';
        /** What the task returned; 0 is success, anything else is the task's own refusal of its input. */
        readonly status: number;
        readonly output: Buffer;
      }
    | { readonly outcome: 'aborted'; readonly code: number }
    | { readonly outcome: 'deadline' }
    | { readonly outcome: 'fault'; readonly fault: string }
    | { readonly outcome: 'bad-output'; readonly reason: string }
  );

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
  /** Isolation `process`: one process runs all its calls, and is put back after each. Known after `start()`. */
  readonly kept?: boolean;
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
  /** Called once when the process ended without being asked to. `starved`: it was given up because it got no processor. */
  onDeath(listener: (reason: string, starved?: boolean) => void): void;
}
