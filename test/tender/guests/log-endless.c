/* Logs without end: what it leaves is cut, and its budget ends it all the same. */
#include "guest.h"

GUEST("log-endless");

TASK {
  for (unsigned i = 0;; i++) kerb_logf("line %u of a flood that nobody wants to read\n", i);
}
