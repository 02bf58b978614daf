/* Input: a u64 length, then bytes. Answers with as many bytes as it says, of which it writes only those it was given. */
#include "guest.h"

KERB_TASK("claim", .memory = 1 << 20, .max_input = (2 << 20) + 8, .max_output = 2 << 20);

TASK {
  uint64_t claim = 0;
  memcpy(&claim, in, in_size < sizeof claim ? in_size : sizeof claim);
  if (in_size > 8) memcpy(out, in + 8, in_size - 8);
  *out_size = claim;
  return 0;
}
