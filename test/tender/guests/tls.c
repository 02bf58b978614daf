/* Thread-local storage: initialised, zero, and aligned. */
#include "guest.h"

GUEST("tls");

static __thread int initialised = 7;
static __thread char text[12] = "thread-local";
static __thread int zero;
static __thread char aligned[64] __attribute__((aligned(64)));

TASK {
  char *where = aligned;
  OPAQUE(where);
  ANSWER("%d %.12s %d %d", initialised, text, zero, (int)((uintptr_t)where % 64));
  initialised++;
  zero++;
  return 0;
}
