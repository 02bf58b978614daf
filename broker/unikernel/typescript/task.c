/* The task of a unikernel whose code was WebAssembly: build.ts gives MODULE's header, NAME and the sizes. */
#include "wasm2c.h"

#include "module.h"

#include <kerbside/task.h>

#include "runtime.h"

#define module_instance KERB_WASM_NAME(Z_module_instance_t, w2c_module)
#define module_instantiate KERB_WASM_NAME(Z_module_instantiate, wasm2c_module_instantiate)
#define module_run KERB_WASM_NAME(Z_moduleZ_run, w2c_module_run)

KERB_TASK(NAME, .memory = MEMORY, .max_input = MAX_INPUT, .max_output = MAX_OUTPUT);

int kerb_task(const uint8_t *in, size_t in_size, uint8_t *out, size_t out_capacity, size_t *out_size) {
  static module_instance instance;
  kerb_wasm_begin(in, in_size, out, out_capacity, out_size);
#if KERB_WASM_TYPES_REGISTERED
  Z_module_init_module();
#endif
  module_instantiate(&instance, NULL);
  module_run(&instance);
  return 0;
}
