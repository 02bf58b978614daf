/* Traps as WebAssembly does that wants an integer of NaN: AssemblyScript's conversions saturate and cannot. */
#define WASM_RT_MEMCHECK_SIGNAL_HANDLER 0
#include <wasm-rt.h>

#include "guest.h"

GUEST("wasm-trap");

TASK {
  wasm_rt_trap(WASM_RT_TRAP_INVALID_CONVERSION);
}
