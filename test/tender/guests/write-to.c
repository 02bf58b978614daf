/* Writes one byte to the address that its input names, as u64; 0 means its own text. */
#include "guest.h"

GUEST("write-to");

TASK {
  uint64_t address = 0;
  memcpy(&address, in, in_size < sizeof address ? in_size : sizeof address);
  if (address == 0) address = (uintptr_t)kerb_task;
  *(volatile uint8_t *)address = 0xc3;
  ANSWER("written");
  return 0;
}
