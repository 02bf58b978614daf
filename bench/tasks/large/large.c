/* Its input is its output, as large as a picture that nobody has compressed. */
#include <kerbside/task.h>
#include <string.h>

KERB_TASK("large", .memory = 512 << 10, .max_input = 16 << 20, .max_output = 16 << 20);

int kerb_task(const uint8_t *in, size_t in_size, uint8_t *out, size_t out_capacity, size_t *out_size) {
  if (in_size > out_capacity) return kerb_refuse(1, "%zu bytes are more than %zu", in_size, out_capacity);
  memcpy(out, in, in_size);
  *out_size = in_size;
  return 0;
}
