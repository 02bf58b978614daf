/* Initialised, zero and heap data are the same on every call, whatever the last one did to them. */
#include <stdlib.h>

#include "guest.h"

GUEST("globals");

static int counter = 41;
static int zeroed[4096];

TASK {
  int *heap = malloc(64 * sizeof *heap);
  int dirt = 0;
  OPAQUE(heap); /* what malloc gives is not initialised; what the tender gives is */
  for (int i = 0; i < 4096; i++) dirt |= zeroed[i];
  for (int i = 0; i < 64; i++) dirt |= heap[i];
  ANSWER("counter %d, dirt %d", ++counter, dirt);
  memset(zeroed, 0x5a, sizeof zeroed);
  memset(heap, 0x5a, 64 * sizeof *heap);
  return 0;
}
