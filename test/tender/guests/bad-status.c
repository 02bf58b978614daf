/* Returns a status that is not one. */
#include "guest.h"

GUEST("bad-status");

TASK { return in_size > 0 ? in[0] : -1; }
