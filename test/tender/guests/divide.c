#include "guest.h"

GUEST("divide");

TASK {
  int zero = 0;
  OPAQUE(zero);
  return 1 / zero;
}
