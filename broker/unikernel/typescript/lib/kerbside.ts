// The functions of a task in TypeScript besides AssemblyScript's own library. AssemblyScript makes every export of this
// folder a global of the task, so nothing has to be imported.

@external("env", "kerbside.refuse")
declare function ringRefuse(status: i32): void;

/**
 * Ends the call: the input is refused with a status of the task's own, 1 to 2147483647, which the caller is told, and
 * with `reason`, one line of 200 characters at most. Without one the caller is told the last line that the call has
 * logged.
 */
export function refuse(status: i32, reason: string = ""): void {
  if (reason.length > 0) console.log(reason);
  ringRefuse(status);
  unreachable();
}

/** The state of a session, in a task whose task.yaml declares it (`state: { max: 64 }`); the format is in kerbside/state.h. */
const STATE_MAGIC: u32 = 0x3154534b;

function frameAt(input: StaticArray<u8>): i32 {
  const begin = changetype<usize>(input);
  const isFrame = input.length >= 16 && load<u32>(begin) == STATE_MAGIC;
  const at = isFrame ? load<u32>(begin, 12) : 0;
  const isWhole = at >= 16 && <i32>at <= input.length && load<u32>(begin, 8) <= at - 16;
  if (!isWhole) refuse(1, "it came without a state");
  return <i32>at;
}

/** The state that came with the input; null: there is none yet. */
export function stateOf(input: StaticArray<u8>): StaticArray<u8> | null {
  frameAt(input);
  if (load<u32>(changetype<usize>(input), 4) == 0) return null;
  return input.slice<StaticArray<u8>>(16, 16 + <i32>load<u32>(changetype<usize>(input), 8));
}

/** The input as its caller gave it. */
export function inputOf(input: StaticArray<u8>): StaticArray<u8> {
  return input.slice<StaticArray<u8>>(frameAt(input));
}

/** The output for the caller, and the next state. */
export function withState(state: StaticArray<u8>, output: StaticArray<u8>): StaticArray<u8> {
  return stateFrame(1, state, output);
}

/** The output for the caller; the state stays as it is. */
export function keepState(output: StaticArray<u8>): StaticArray<u8> {
  return stateFrame(0, new StaticArray<u8>(0), output);
}

/** The output for the caller; there is no state any more. */
export function removeState(output: StaticArray<u8>): StaticArray<u8> {
  return stateFrame(2, new StaticArray<u8>(0), output);
}

function stateFrame(what: u32, state: StaticArray<u8>, output: StaticArray<u8>): StaticArray<u8> {
  const at = 16 + ((state.length + 15) & ~15);
  const framed = new StaticArray<u8>(at + output.length);
  const begin = changetype<usize>(framed);
  store<u32>(begin, STATE_MAGIC);
  store<u32>(begin, what, 4);
  store<u32>(begin, <u32>state.length, 8);
  store<u32>(begin, <u32>at, 12);
  memory.copy(begin + 16, changetype<usize>(state), state.length);
  memory.copy(begin + <usize>at, changetype<usize>(output), output.length);
  return framed;
}
