#include "guest.h"

GUEST("null");

TASK {
  volatile const int *nothing = NULL;
  OPAQUE(nothing);
  return *nothing;
}
