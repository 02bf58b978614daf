/* Uses the port that its input names (u64), by byte, word, long, string or input; then two u64 for rdi and rsi. */
#include "guest.h"

GUEST("port");

TASK {
  uint64_t values[3] = {0};
  if (in_size < 9) return 1;
  memcpy(&values[0], in, 8);
  memcpy(&values[1], in + 9, in_size - 9 < 16 ? in_size - 9 : 16);
  const uint16_t port = (uint16_t)values[0];
  switch (in[8]) {
    case 'b':
      __asm__ volatile("outb %%al, %%dx" : : "a"(0), "d"(port), "D"(values[1]), "S"(values[2]) : "memory");
      break;
    case 'w':
      __asm__ volatile("outw %%ax, %%dx" : : "a"(0), "d"(port));
      break;
    case 'l':
      __asm__ volatile("outl %%eax, %%dx" : : "a"(0), "d"(port));
      break;
    case 's': {
      const void *from = in;
      size_t count = 3;
      __asm__ volatile("rep outsb" : "+S"(from), "+c"(count) : "d"(port) : "memory");
      break;
    }
    default:
      __asm__ volatile("inb %%dx, %%al" : : "d"(port) : "rax");
  }
  ANSWER("survived");
  return 0;
}
