/* Takes all of the heap, finds that malloc says no, gives it back, and takes it again. */
#include <errno.h>
#include <stdlib.h>

#include "guest.h"

GUEST("heap");

static unsigned fill(void **blocks, unsigned most) {
  unsigned count = 0;
  while (count < most && (blocks[count] = malloc(1000)) != NULL) memset(blocks[count++], 0xa5, 1000);
  return count;
}

TASK {
  static void *blocks[2000];
  const unsigned first = fill(blocks, 2000);
  const int error = errno;
  for (unsigned i = 0; i < first; i++) free(blocks[i]);
  const unsigned second = fill(blocks, 2000);
  for (unsigned i = 0; i < second; i++) free(blocks[i]);
  void *aligned = aligned_alloc(256, 100);
  const int offset = (int)((uintptr_t)aligned % 256);
  free(aligned);
  size_t everything = (size_t)-1;
  OPAQUE(everything);
  void *too_large = malloc(everything);
  ANSWER("%d %d %d %d", first > 500 && first < 2000 && first == second, error == ENOMEM, offset, too_large == NULL);
  return 0;
}
