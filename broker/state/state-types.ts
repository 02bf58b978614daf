/** Values of sessions, and the messages between the broker and the thread that keeps them. */

/** Bytes of one value. */
export const MAX_VALUE = 64 * 1024;
/** Bytes of the output of one offload with state: it is kept beside the value, in the same transaction. */
export const MAX_STATE_OUTPUT = 1024 * 1024;

/** Printable ASCII without spaces, as an offload's id. */
const STATE_KEY = /^[\x21-\x7e]{1,128}$/;

export function isStateKey(text: string): boolean {
  return STATE_KEY.test(text);
}

/** Names a value and its owner. `vehicle` is empty for a key that the policy opens to all of its tenant. */
export interface StateKey {
  readonly tenant: string;
  /** Name of the task. */
  readonly task: string;
  readonly vehicle: string;
  readonly key: string;
}

/** The same key has the same text, and another one another. Names and keys hold no line break. */
export function textOfKey({ tenant, task, vehicle, key }: StateKey): string {
  return `${tenant}\n${task}\n${vehicle}\n${key}`;
}

/** The offload that a change comes from, as its caller names it. */
export interface Asker {
  readonly tenant: string;
  readonly vehicle: string;
  readonly id: string;
  /** SHA-256 of task and input: the same id with others is another offload. */
  readonly request: Uint8Array;
}

/** Limits of one tenant. */
export interface StateLimits {
  readonly keys: number;
  /** Of its values, and of the outputs that are kept for its retries. */
  readonly bytes: number;
  /** Longest time that a value is kept without being written, in milliseconds. */
  readonly ttlMs: number;
}

export interface StateValue {
  /** Grows with each write of any key, so that a key that was removed and made again has a new one. 0: there is no value. */
  readonly version: number;
  readonly value: Uint8Array | undefined;
  /** Milliseconds; 0: there is no value. */
  readonly expiresInMs: number;
}

/** The output of an offload that was applied before. */
export interface AppliedOutput {
  readonly output: Uint8Array;
  /** Of its run, as JSON. */
  readonly facts: string;
  /** That it wrote, or found when it wrote nothing. */
  readonly version: number;
}

export type StateChange =
  | { readonly action: 'keep' }
  | { readonly action: 'set'; readonly value: Uint8Array; readonly ttlMs: number }
  | { readonly action: 'delete' };

/** An output to be kept with the change, so that a retry of the same offload gets it. */
export interface OutputToKeep {
  readonly asker: Asker;
  readonly output: Uint8Array;
  readonly facts: string;
  readonly keepMs: number;
}

export type StateRequest =
  | { readonly kind: 'read'; readonly key: StateKey; readonly asker: Asker | undefined }
  | {
      readonly kind: 'commit';
      readonly key: StateKey;
      /** The version that the change was made from; undefined: any. */
      readonly expected: number | undefined;
      readonly change: StateChange;
      readonly applied: OutputToKeep | undefined;
      /** Of the owner of the key, and of the asker. */
      readonly limits: StateLimits;
      readonly askerLimits: StateLimits;
    }
  | { readonly kind: 'forget'; readonly tenant: string }
  | { readonly kind: 'list'; readonly tenant: string | undefined; readonly limit: number };

export type StateReply =
  | ({ readonly kind: 'value' } & StateValue)
  /** This offload was applied before. */
  | ({ readonly kind: 'applied' } & AppliedOutput)
  /** The id belongs to another offload of this vehicle. */
  | { readonly kind: 'other-offload' }
  | { readonly kind: 'written'; readonly version: number }
  /** Nothing was changed; what is there now. */
  | ({ readonly kind: 'conflict' } & StateValue)
  | {
      readonly kind: 'quota';
      readonly tenant: string;
      readonly quota: 'state.keys' | 'state.bytes' | 'all';
      readonly used: number;
      readonly limit: number;
      /** Until something of it expires; 0: not known. */
      readonly retryAfterMs: number;
    }
  | ({
      readonly kind: 'forgotten';
      /** Nothing of it is left in free pages of the file either. */
      readonly isScrubbed: boolean;
    } & StateUse)
  | { readonly kind: 'listed'; readonly total: number; readonly rows: readonly StateRow[] }
  /** Nothing of it is on the disk. */
  | { readonly kind: 'failed'; readonly reason: string };

/** A key as operators see it: never its value. */
export interface StateRow extends StateKey {
  readonly version: number;
  readonly bytes: number;
  /** Milliseconds. */
  readonly expiresInMs: number;
}

export interface StateUse {
  readonly keys: number;
  readonly outputs: number;
  readonly bytes: number;
}

/** The answer to one batch: in the order of the requests, and the use of the tenants that it has changed for. */
export interface StateDone {
  readonly replies: readonly StateReply[];
  readonly use: ReadonlyMap<string, StateUse>;
}
