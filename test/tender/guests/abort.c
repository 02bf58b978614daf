/* Aborts with the code of its input, or by assert() when there is none. */
#include <assert.h>

#include "guest.h"

GUEST("abort");

TASK {
  assert(in_size > 0);
  kerb_log("before the end\n", 15);
  kerb_abort(in[0]);
}
