/* Writes to as many bytes of its heap as its input, a u64, says. */
#include <stdlib.h>

#include "guest.h"

#ifndef NAME /* use-memory-small.c */
#define NAME "use-memory"
#define MEMORY (32 << 20)
#endif

KERB_TASK(NAME, .memory = MEMORY, .max_input = 4096, .max_output = 4096);

TASK {
  uint64_t size;
  memcpy(&size, in, sizeof size);
  if (size == 0) return 0;
  uint8_t *bytes = malloc(size);
  if (bytes == NULL) return 1;
  for (uint64_t at = 0; at < size; at += 512) bytes[at] = 1;
  OPAQUE(bytes);
  return 0;
}
