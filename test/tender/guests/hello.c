#include "guest.h"

GUEST("hello");

TASK {
  ANSWER("hello, %.*s", (int)in_size, (const char *)in);
  kerb_logf("greeted %zu bytes\n", in_size);
  return 0;
}
