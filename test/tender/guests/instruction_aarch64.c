/* Executes the one instruction that its input names. */
#include "guest.h"

GUEST("instruction");

TASK {
  switch (in_size > 0 ? in[0] : 0) {
    case 'h':
      __asm__ volatile("hlt #0");
      break;
    case 'b':
      __asm__ volatile("brk #0x123");
      break;
    case 'c': /* hold off interrupts */
      __asm__ volatile("msr daifset, #2");
      break;
    case 'p':
      __asm__ volatile("mrs x0, ttbr0_el1" ::: "x0");
      break;
    case 'm':
      __asm__ volatile("msr sctlr_el1, x0");
      break;
    case 'v': /* calls of a hypervisor and of the firmware */
      __asm__ volatile("hvc #0" ::: "x0", "memory");
      break;
    case 'V':
      __asm__ volatile(".inst 0xd4000003" ::: "x0", "memory"); /* smc #0, which the assembler wants an extension for */
      break;
    case 'u':
      __asm__ volatile("udf #0");
      break;
    case 'n': /* neither in the lower nor in the upper half of the address space */
      __asm__ volatile("mov x0, #1 << 53; ldrb w0, [x0]" ::: "x0");
      break;
    case 's': /* a fault with a stack pointer to nowhere: reported on the fault stack */
      __asm__ volatile("mov x0, #0; mov sp, x0; udf #0" ::: "x0", "memory");
      break;
    case 'S': /* a fault at the end of the fault stack itself: nothing left to report it on */
      __asm__ volatile("mov x0, #0x3f100000; add x0, x0, #0x100; mov sp, x0; udf #0" ::: "x0", "memory");
      break;
    case 'a': /* an exclusive load may not be misaligned */
      __asm__ volatile("add x0, %0, #1; ldaxr x0, [x0]" : : "r"(in) : "x0");
      break;
    case 't': { /* the virtual counter: the finest clock there is */
      uint64_t count;
      __asm__ volatile("mrs %0, cntvct_el0" : "=r"(count));
      ANSWER("%llu", (unsigned long long)count);
      return 0;
    }
    default:
      break;
  }
  ANSWER("survived");
  return 0;
}
