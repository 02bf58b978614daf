#include "guest.h"

GUEST("loop");

TASK {
  kerb_log("looping\n", 8);
  for (;;) __asm__ volatile("");
}
