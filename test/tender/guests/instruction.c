/* Executes the one instruction that its input names. */
#include "guest.h"

GUEST("instruction");

TASK {
  switch (in_size > 0 ? in[0] : 0) {
    case 'i':
      __asm__ volatile("inb $0x60, %%al" ::: "rax");
      break;
    case 'o':
      __asm__ volatile("movw $0x500, %%dx; outl %%eax, %%dx" ::: "rdx");
      break;
    case 'h':
      __asm__ volatile("hlt");
      break;
    case 'b':
      __asm__ volatile("int3");
      break;
    case 'c':
      __asm__ volatile("cli");
      break;
    case 'p':
      __asm__ volatile("mov %%cr3, %%rax" ::: "rax");
      break;
    case 'm':
      __asm__ volatile("movl $0x1b, %%ecx; rdmsr" ::: "rax", "rcx", "rdx");
      break;
    case 't':
      __asm__ volatile("rdtsc" ::: "rax", "rdx");
      break;
    case 'T':
      __asm__ volatile("rdtscp" ::: "rax", "rcx", "rdx");
      break;
    case 'u':
      __asm__ volatile("ud2");
      break;
    case 'n':
      __asm__ volatile("movq $1 << 62, %%rax; movb (%%rax), %%al" ::: "rax");
      break;
    case '8': /* a 32-bit system call: getpid */
      __asm__ volatile("movl $20, %%eax; int $0x80" ::: "rax");
      break;
    case 's': /* a fault with a stack pointer to nowhere: reported on the fault stack */
      __asm__ volatile("xorl %%esp, %%esp; ud2" ::: "memory");
      break;
    case 'S': /* a fault at the end of the fault stack itself: nothing left to report it on */
      __asm__ volatile("movl $0x3f100100, %%esp; ud2" ::: "memory");
      break;
    default:
      break;
  }
  ANSWER("survived");
  return 0;
}
