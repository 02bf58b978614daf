/* Makes the system call that its input names: seven u64, the number and six arguments. Answers with the result. */
#include "guest.h"

GUEST("syscall");

TASK {
  uint64_t call[7] = {0};
  memcpy(call, in, in_size < sizeof call ? in_size : sizeof call);
  register uint64_t r10 __asm__("r10") = call[4];
  register uint64_t r8 __asm__("r8") = call[5];
  register uint64_t r9 __asm__("r9") = call[6];
  long result;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(call[0]), "D"(call[1]), "S"(call[2]), "d"(call[3]), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  ANSWER("%ld", result);
  return 0;
}
