/* Writes over the end of a buffer on the stack. */
#include "guest.h"

GUEST("stack-protector");

static __attribute__((noinline)) void overflow(size_t size) {
  char buffer[16];
  volatile char *byte = buffer;
  for (size_t i = 0; i < size; i++) byte[i] = 'A';
}

TASK {
  overflow(16 + in_size);
  ANSWER("survived");
  return 0;
}
