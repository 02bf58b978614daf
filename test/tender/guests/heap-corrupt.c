/* Frees a block twice. */
#include <stdlib.h>

#include "guest.h"

GUEST("heap-corrupt");

TASK {
  char *block = malloc(100), *same = block;
  OPAQUE(block);
  OPAQUE(same);
  free(block);
  free(same);
  return 0;
}
