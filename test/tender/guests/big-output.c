/* Claims the output length that its input names, as u64. */
#include "guest.h"

GUEST("big-output");

TASK {
  uint64_t claim = 0;
  memcpy(&claim, in, in_size < sizeof claim ? in_size : sizeof claim);
  *out_size = claim;
  return 0;
}
