/* MEMORY bytes, of which a call changes as many as its input (32 bits, little endian) says. */
#include <kerbside/task.h>
#include <stdlib.h>
#include <string.h>

KERB_TASK("dirty", .memory = MEMORY, .max_input = 4, .max_output = 1);

int kerb_task(const uint8_t *in, size_t in_size, uint8_t *out, size_t out_capacity, size_t *out_size) {
  uint32_t size;
  if (in_size != sizeof size || out_capacity < 1) return 1;
  memcpy(&size, in, sizeof size);
  uint8_t *memory = malloc(size);
  if (memory == NULL) return 2;
  memset(memory, 0xa5, size);
  __asm__ volatile("" : : "r"(memory) : "memory"); /* the compiler does not see that nobody reads it */
  out[0] = memory[size / 2];
  *out_size = 1;
  return 0;
}
