/* For benches: computes for as long as the input says, and gives the rest of it back. The first four bytes, little endian,
 * are rounds of about a microsecond; all ones: without end. */
#include <kerbside/task.h>
#include <string.h>

KERB_TASK("work", .memory = 512 << 10, .max_input = 4 << 20, .max_output = 4 << 20);

static volatile uint32_t sink;

int kerb_task(const uint8_t *in, size_t in_size, uint8_t *out, size_t out_capacity, size_t *out_size) {
  uint32_t rounds;
  if (in_size < sizeof rounds) return kerb_refuse(1, "%zu bytes are fewer than %zu", in_size, sizeof rounds);
  memcpy(&rounds, in, sizeof rounds);
  uint32_t value = 1;
  for (uint32_t round = 0; round < rounds || rounds == UINT32_MAX; round++) {
    for (int i = 0; i < 500; i++) value = value * 1664525u + 1013904223u;
    sink = value;
  }
  if (in_size > out_capacity) return kerb_refuse(1, "%zu bytes are more than %zu", in_size, out_capacity);
  memcpy(out, in, in_size);
  *out_size = in_size;
  return 0;
}
