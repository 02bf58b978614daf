#include <kerbside/task.h>
#include <stdio.h>

KERB_TASK("fopen", .memory = 1 << 20, .max_input = 16, .max_output = 16);

int kerb_task(const uint8_t *in, size_t in_size, uint8_t *out, size_t out_capacity, size_t *out_size) {
  (void)in, (void)in_size, (void)out, (void)out_capacity, (void)out_size;
  return fopen("/etc/hostname", "r") == NULL;
}
