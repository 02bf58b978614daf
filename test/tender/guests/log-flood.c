/* Logs far more than a call may leave. */
#include "guest.h"

GUEST("log-flood");

TASK {
  for (int i = 0; i < 20000; i++) kerb_logf("line %d of a flood that nobody wants to read\n", i);
  ANSWER("done");
  return 0;
}
