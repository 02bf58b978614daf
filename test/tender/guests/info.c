/* What the info page and the layout tell: seed, clock, alignment, and that the clock stands still. */
#include "guest.h"

GUEST("info");

TASK {
  const uint64_t before = kerb_time_ms();
  for (volatile int i = 0; i < 10000000; i++) continue;
  ANSWER("%d %d %d ", (int)((uintptr_t)in % 4096), (int)((uintptr_t)out % 4096), before == kerb_time_ms());
  *out_size += (size_t)snprintf((char *)out + *out_size, out_capacity - *out_size, "%llu ", (unsigned long long)before);
  for (int i = 0; i < 32; i++)
    *out_size += (size_t)snprintf((char *)out + *out_size, out_capacity - *out_size, "%02x", kerb_seed()[i]);
  return 0;
}
