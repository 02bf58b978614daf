// Between the unikernel and the task: copies the input in and the output out. build.ts puts the task's file in the place
// of "./TASK".
import { task } from "./TASK";

@external("env", "kerbside.inputSize")
declare function inputSize(): i32;
@external("env", "kerbside.readInput")
declare function readInput(to: usize): void;
@external("env", "kerbside.writeOutput")
declare function writeOutput(from: usize, size: i32): void;

export function run(): void {
  const input = new StaticArray<u8>(inputSize());
  readInput(changetype<usize>(input));
  const output: StaticArray<u8> = task(input);
  writeOutput(changetype<usize>(output), output.length);
}
