#include <stdio.h>

#include "guest.h"

GUEST("hello");

TASK {
  ANSWER("hello, %.*s", (int)in_size, (const char *)in);
  kerb_logf("greeted %zu bytes\n", in_size);
  fprintf(stderr, "and said so %d times\n", 2);
  return 0;
}
