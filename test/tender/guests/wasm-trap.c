/* Traps as WebAssembly does that wants an integer of NaN: AssemblyScript's conversions saturate and cannot. */
#include "../../../broker/unikernel/typescript/runtime.c"

#include "guest.h"

GUEST("wasm-trap");

TASK {
  wasm_rt_trap(WASM_RT_TRAP_INVALID_CONVERSION);
}
