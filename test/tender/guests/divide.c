#include "guest.h"

GUEST("divide");

TASK {
  int one = 1, zero = 0;
  OPAQUE(one);
  OPAQUE(zero);
  int result = one / zero;
  OPAQUE(result);
  return result;
}
