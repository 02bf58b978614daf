#include "guest.h"

GUEST("recursion");

static __attribute__((noinline)) int deeper(int depth) {
  volatile char here[100];
  here[depth % 100] = (char)depth;
  int end = 0;
  OPAQUE(end);
  return end != 0 ? end : deeper(depth + 1) + here[0];
}

TASK { return deeper(0); }
