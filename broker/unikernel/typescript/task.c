/* The task of a unikernel whose code was WebAssembly: build.ts gives MODULE's header, NAME and the sizes. */
#include "module.h"

#include <kerbside/task.h>

#include "wasm.h"

KERB_TASK(NAME, .memory = MEMORY, .max_input = MAX_INPUT, .max_output = MAX_OUTPUT);

int kerb_task(const uint8_t *in, size_t in_size, uint8_t *out, size_t out_capacity, size_t *out_size) {
  static Z_module_instance_t instance;
  kerb_wasm_begin(in, in_size, out, out_capacity, out_size);
  Z_module_init_module();
  Z_module_instantiate(&instance, NULL);
  Z_moduleZ_run(&instance);
  return 0;
}
