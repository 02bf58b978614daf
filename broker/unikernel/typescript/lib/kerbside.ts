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
