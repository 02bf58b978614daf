/**
 * How the state of a session goes into a task and out of it: in front of input and output, behind a header of 16 bytes
 * (broker/unikernel/include/kerbside/state.h says the same in C). Version 1, little-endian:
 *
 *     0  "KST1"
 *     4  u32  in: 0 there is no state yet, 1 it follows. Out: 0 keep it as it is, 1 the next one follows, 2 remove it
 *     8  u32  size of the state, which begins at 16
 *    12  u32  where input or output begin: a multiple of 16, behind the state
 */
import { ErrorCode, KerbError } from '../base/errors.ts';
import { MAX_STATE_OUTPUT, type TaskConfig, type TaskState } from './format.ts';

const MAGIC = Buffer.from('KST1', 'latin1');
const HEADER = 16;

export type TaskReply = {
  readonly output: Buffer;
} & (
  | { readonly action: 'keep' | 'delete'; readonly state: undefined }
  | { readonly action: 'set'; readonly state: Buffer }
);

/** Bytes of an input, and of an output, that are for a state of so many bytes. */
export function stateRoom(bytes: number): number {
  return HEADER + roundUp(bytes);
}

/** Bytes of input and of output that are left for the caller. */
export function sizesFor({ state, maxInput, maxOutput }: Pick<TaskConfig, 'state' | 'maxInput' | 'maxOutput'>): {
  readonly maxInput: number;
  readonly maxOutput: number;
} {
  const room = state === undefined ? 0 : stateRoom(state.maxBytes);
  return { maxInput: maxInput - room, maxOutput: maxOutput - room };
}

/** @throws KerbError BadTaskPackage when a task with state has no room for it, or gives more than can be kept with it */
export function checkState(config: Pick<TaskConfig, 'state' | 'maxInput' | 'maxOutput'>, where: string): void {
  if (config.state === undefined) return;
  const room = stateRoom(config.state.maxBytes);
  const { maxInput, maxOutput } = sizesFor(config);
  const bad = (what: string) => new KerbError(ErrorCode.BadTaskPackage, `${where} has state, and ${what}`, { where });
  if (maxInput < 0) throw bad(`takes ${config.maxInput} bytes of input; with its state it needs at least ${room}`);
  if (maxOutput < 0) throw bad(`gives ${config.maxOutput} bytes of output; with its state it needs at least ${room}`);
  if (maxOutput > MAX_STATE_OUTPUT) {
    throw bad(
      `may give ${maxOutput} bytes of output beside it; the most that is kept with a state is ${MAX_STATE_OUTPUT}`,
    );
  }
}

export function withState(state: Uint8Array | undefined, input: Uint8Array): Buffer {
  const size = state?.length ?? 0;
  const at = stateRoom(size);
  const framed = Buffer.alloc(at + input.length);
  framed.set(MAGIC);
  framed.writeUInt32LE(state === undefined ? 0 : 1, 4);
  framed.writeUInt32LE(size, 8);
  framed.writeUInt32LE(at, 12);
  if (state !== undefined) framed.set(state, HEADER);
  framed.set(input, at);
  return framed;
}

/**
 * Of an output that a task wrote: nothing of it is trusted.
 * @throws KerbError GuestBadOutput; StateTooLarge when the state is larger than the task declares
 */
export function readReply(name: string, output: Buffer, { maxBytes }: TaskState): TaskReply {
  const bad = (what: string) => new KerbError(ErrorCode.GuestBadOutput, `${name} gave a bad output: ${what}`);
  if (output.length < HEADER || !output.subarray(0, MAGIC.length).equals(MAGIC)) {
    throw bad('it does not begin with a state; a task with state uses <kerbside/state.h>, or stateful() in TypeScript');
  }
  const what = output.readUInt32LE(4);
  const size = output.readUInt32LE(8);
  const at = output.readUInt32LE(12);
  if (at % HEADER !== 0 || at < HEADER + size || at > output.length) throw bad('the sizes of its state do not fit');
  const rest = output.subarray(at);
  if (what === 0) return { action: 'keep', state: undefined, output: rest };
  if (what === 2) return { action: 'delete', state: undefined, output: rest };
  if (what !== 1) throw bad(`${what} is not a change of it: it must be 0 (keep), 1 (set) or 2 (remove)`);
  if (size <= maxBytes) return { action: 'set', state: output.subarray(HEADER, HEADER + size), output: rest };
  throw new KerbError(
    ErrorCode.StateTooLarge,
    `${name} gave a state of ${size} bytes; its task.yaml declares at most ${maxBytes} (state: max)`,
  );
}

function roundUp(bytes: number): number {
  return Math.ceil(bytes / HEADER) * HEADER;
}
