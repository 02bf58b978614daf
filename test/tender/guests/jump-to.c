/* Jumps into its own data (no input), or to the address that its input names, as u64. */
#include "guest.h"

GUEST("jump-to");

static uint8_t code[4] = {0xc3}; /* on x86-64 a return, on arm64 no instruction: no page fault in any case */

TASK {
  uint64_t address = (uintptr_t)code;
  memcpy(&address, in, in_size < sizeof address ? in_size : sizeof address);
  ((void (*)(void *, void *))address)(NULL, NULL);
  ANSWER("returned");
  return 0;
}
