/**
 * How the guest ended, as the tender reports it. In isolation `process` all but `signal` 9 can be made up by the
 * guest; in isolation `vm` nothing can, and the signal is the one that Linux would have sent to a process.
 */
export interface Fault {
  /** The signal, or 0 when the process ended by itself. */
  readonly signal: number;
  /** `si_code` of that signal, or 0 when the kernel ended the process outright. */
  readonly signalCode: number;
  /** Of `signal` 31 with a code, a forbidden system call, 1: of the 32-bit table. Exit code, when `signal` is 0. Else what the processor said, its vector or its syndrome: `frames.h`. */
  readonly status: number;
  /** Of a forbidden system call its number, in two's complement. */
  readonly faultAddress: bigint;
  readonly instruction: bigint;
}

// Guest layout: unikernel/include/kerbside/abi.h.
const GUARD_START = 0x20000000n;
const GUARD_END = 0x20001000n;
const PAGE = 0x1000n;

const SI_KERNEL = 128;
const names = new Map([
  [4, 'SIGILL'],
  [5, 'SIGTRAP'],
  [6, 'SIGABRT'],
  [7, 'SIGBUS'],
  [8, 'SIGFPE'],
  [9, 'SIGKILL'],
  [11, 'SIGSEGV'],
  [24, 'SIGXCPU'],
  [31, 'SIGSYS'],
]);
const arithmetic = new Map([
  [1, 'integer division by zero'],
  [2, 'integer overflow'],
  [3, 'floating-point division by zero'],
  [4, 'floating-point overflow'],
  [5, 'floating-point underflow'],
  [6, 'inexact floating-point result'],
  [7, 'invalid floating-point operation'],
]);

const hex = (value: bigint): string => `0x${value.toString(16)}`;

function memoryFault(fault: Fault): string {
  const { faultAddress: address, signalCode } = fault;
  if (signalCode === SI_KERNEL) {
    return 'privileged instruction, forbidden port, time-stamp counter or non-canonical address';
  }
  if (signalCode === 0) return 'memory fault, and no stack left to report it on';
  if (address >= GUARD_START && address < GUARD_END) return `stack overflow: guard page at ${hex(address)}`;
  if (address < PAGE) return `null pointer: access to ${hex(address)}`;
  return signalCode === 2
    ? `access to ${hex(address)} that its page does not allow (write to read-only memory, or jump into data)`
    : `access to unmapped address ${hex(address)}`;
}

/** A call by `int 0x80`, a general protection fault in isolation `vm`, counts by the table of 32-bit programs. */
function systemCall({ signalCode, status, faultAddress }: Fault): string {
  if (signalCode === 0) return 'forbidden system call';
  const shortTable = status === 1 || vectorOf(status) === 13;
  return `forbidden system call ${BigInt.asIntN(64, faultAddress)}${shortTable ? ' of the 32-bit table' : ''}`;
}

function describe(fault: Fault): string {
  switch (fault.signal) {
    case 4:
      return 'illegal instruction';
    case 5:
      return 'breakpoint or trap instruction';
    case 7:
      return `bus error at ${hex(fault.faultAddress)}`;
    case 8:
      return arithmetic.get(fault.signalCode) ?? 'arithmetic fault';
    case 9:
      return 'killed from outside: by an operator, or by the kernel for its memory';
    case 11:
      return memoryFault(fault);
    case 24:
      return 'used up its processor time';
    case 31:
      return systemCall(fault);
    default:
      return 'ended by a signal';
  }
}

const vectors = new Map([
  [0, '#DE'],
  [1, '#DB'],
  [3, '#BP'],
  [6, '#UD'],
  [8, '#DF'],
  [10, '#TS'],
  [11, '#NP'],
  [12, '#SS'],
  [13, '#GP'],
  [14, '#PF'],
  [16, '#MF'],
  [17, '#AC'],
  [19, '#XM'],
]);
const vectorOf = (status: number): number => (status >>> 16) & 31;
const vectorsWithErrorCode = new Set([8, 10, 11, 12, 13, 14, 17]);

/** Exception classes of arm64 (Arm ARM, ESR_EL1.EC) that a guest can come to. */
const classes = new Map([
  [0x0d, 'branch target'],
  [0x0e, 'illegal execution state'],
  [0x1c, 'pointer authentication'],
  [0x20, 'instruction abort'],
  [0x22, 'PC alignment'],
  [0x24, 'data abort'],
  [0x26, 'SP alignment'],
  [0x2c, 'floating point'],
  [0x3c, 'BRK'],
]);

function syndrome(status: number): string {
  const exceptionClass = (status >>> 16) & 63;
  return `, ${classes.get(exceptionClass) ?? `class 0x${exceptionClass.toString(16)}`}(0x${(status & 0xffff).toString(16)})`;
}

/**
 * The processor's own name of a fault, as its manuals write it; in isolation `process` only on arm64, and only where the
 * kernel tells it.
 */
function exactFault(status: number): string {
  if (status < 0x40000000) return '';
  if (status < 0x80000000) return syndrome(status);
  const vector = vectorOf(status);
  const name = vectors.get(vector) ?? `vector ${vector}`;
  return vectorsWithErrorCode.has(vector) ? `, ${name}(0x${(status & 0xffff).toString(16)})` : `, ${name}`;
}

/** One line that says what the guest did: signal, meaning, address where there is one, instruction. */
export function faultText(fault: Fault): string {
  if (fault.signal === 0) return `ended with exit code ${fault.status} without ringing a doorbell`;
  const name = names.get(fault.signal) ?? `signal ${fault.signal}`;
  const where = fault.signalCode === 0 ? '' : `, instruction at ${hex(fault.instruction)}`;
  return `${name}: ${describe(fault)}${where}${exactFault(fault.status)}`;
}

/** Codes of the libOS, from 0xffff0000 up; a task's own codes are below. */
const aborts = new Map([
  [0xffff0001, 'abort() was called'],
  [0xffff0002, 'an assertion failed'],
  [0xffff0003, 'stack smashed: a buffer on the stack was written past its end'],
  [0xffff0004, 'heap corrupt: freed twice, or a block was written past its end'],
  [0xffff0005, 'a string function would have written past the end of its buffer'],
  [0xffff0006, 'made for another version of the unikernel ABI: build the task again'],
  [0xffff0007, 'exit() was called'],
  [0xffff0010, 'WebAssembly trap: memory or table access out of bounds'],
  [0xffff0011, 'WebAssembly trap: integer overflow'],
  [0xffff0012, 'WebAssembly trap: integer division by zero'],
  [0xffff0013, 'WebAssembly trap: NaN or infinity as an integer'],
  [0xffff0014, 'WebAssembly trap: unreachable'],
  [0xffff0015, 'WebAssembly trap: indirect call of a function of another type'],
  [0xffff0016, 'an error was thrown; the log has its message'],
  [0xffff0017, 'the declared memory is too small for the data of the task'],
  [0xffff0018, 'the task has more function types than a unikernel takes'],
]);

/** What the code of an `aborted` outcome means. */
export function abortText(code: number): string {
  return aborts.get(code) ?? `the task aborted with code ${code}`;
}
