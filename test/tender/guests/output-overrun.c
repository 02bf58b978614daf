/* Writes on after the end of its output memory. */
#include "guest.h"

GUEST("output-overrun");

TASK {
  for (size_t i = 0;; i++) ((volatile uint8_t *)out)[i] = 1;
}
