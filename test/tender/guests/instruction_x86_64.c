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
    case 'k':
      __asm__ volatile("movl $231, %%eax; syscall" ::: "rax", "rcx", "r11", "memory");
      break;
    case 'K': /* a system call at the end of the fault stack */
      __asm__ volatile("movl $0x3f100100, %%esp; movl $39, %%eax; syscall" ::: "rax", "rcx", "r11", "memory");
      break;
    case 'v':
      __asm__ volatile("xorl %%eax, %%eax; vmcall" ::: "rax");
      break;
    case 'V':
      __asm__ volatile("xorl %%eax, %%eax; vmmcall" ::: "rax");
      break;
    case 'y':
      __asm__ volatile("sysenter" ::: "memory", "rcx", "rdx");
      break;
    case 'x':
      __asm__ volatile("xorl %%ecx, %%ecx; xgetbv; xsetbv" ::: "rax", "rcx", "rdx");
      break;
    case 'f': /* other bases, and done before anything needs the right ones */
      __asm__ volatile("movl $0x501, %%edx; xorl %%edi, %%edi; xorl %%esi, %%esi; movl $0x100000, %%eax; wrgsbase %%rax; wrfsbase %%rax; outb %%al, %%dx" ::: "rax", "rdx", "rdi", "rsi");
      break;
    case 'g': {
      uint64_t base;
      __asm__ volatile("rdgsbase %0" : "=r"(base));
      ANSWER("%llu", (unsigned long long)base);
      return 0;
    }
    case 'd': /* the segment registers that ring 3 may load: an empty one, and fs, whose base goes with it */
      __asm__ volatile("movw $3, %%ax; movw %%ax, %%ds; movw %%ax, %%es; movw %%ax, %%gs" ::: "rax");
      break;
    case 'z': /* interrupts are held off for one instruction after `mov ss` */
      __asm__ volatile("movl $0x501, %%edx; movw %%ss, %%cx; xorl %%edi, %%edi; xorl %%esi, %%esi; movw %%cx, %%ss; outb %%al, %%dx" ::: "rcx", "rdx", "rdi", "rsi");
      break;
    case 'Z': /* a trap that is still to come when the call is over */
      __asm__ volatile("movl $0x501, %%edx; xorl %%edi, %%edi; xorl %%esi, %%esi; pushfq; orl $0x100, (%%rsp); popfq; outb %%al, %%dx" ::: "rdx", "rdi", "rsi", "memory");
      break;
    case 'w': { /* what these leave behind: ds, es, gs, the direction and alignment flags, whether fs works */
      uint16_t ds, es, gs;
      uint64_t flags;
      __asm__ volatile("movw %%ds, %0; movw %%es, %1; movw %%gs, %2; pushfq; popq %3" : "=r"(ds), "=r"(es), "=r"(gs), "=r"(flags));
      ANSWER("%u %u %u %llu", ds & ~3u, es & ~3u, gs & ~3u, (unsigned long long)(flags & 0x44500));
      return 0;
    }
    default:
      break;
  }
  ANSWER("survived");
  return 0;
}
