/* Jumps into its own data (no input), or to the address that its input names, as u64. */
#include "guest.h"

GUEST("jump-to");

static uint8_t code[] = {0xc3}; /* ret */

TASK {
  uint64_t address = (uintptr_t)code;
  memcpy(&address, in, in_size < sizeof address ? in_size : sizeof address);
  ((void (*)(void *, void *))address)(NULL, NULL);
  ANSWER("returned");
  return 0;
}
