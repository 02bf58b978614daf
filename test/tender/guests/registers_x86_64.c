/*
 * The registers that a kernel keeps for a process beside the general and vector ones: flags, selectors, bases, x87 and SSE
 * control, protection keys. Input: one letter.
 *
 *   'l' answers eleven u64 as they are at the first instruction of the task: flags; cs, ss, ds, es, fs, gs; base of gs; the
 *       word at the base of fs; x87 control and status, MXCSR and PKRU (0 without one) in two words.
 *   'f' sets all flags that a guest can set and go on with, 'i' the one that says CPUID is there, 't' the single step,
 *   's' loads other selectors, 'g' other bases, 'x' leaves an x87 exception pending and every register of it full, 'm' other
 *   rounding in SSE and none of its exceptions masked, 'p' takes the guest's own access to protection keys. Each ends the call
 *   at once, as a task that has done nothing.
 */
#include <cpuid.h>

#include "guest.h"

KERB_TASK("registers", .memory = 1 << 20, .max_input = 4096, .max_output = 4096);

uint64_t registers_seen[11];

__asm__(
    "  .globl kerb_task\n"
    "kerb_task:\n"
    "  pushfq\n"
    "  popq registers_seen+0\n"
    "  movl %cs, %eax; movq %rax, registers_seen+8\n"
    "  movl %ss, %eax; movq %rax, registers_seen+16\n"
    "  movl %ds, %eax; movq %rax, registers_seen+24\n"
    "  movl %es, %eax; movq %rax, registers_seen+32\n"
    "  movl %fs, %eax; movq %rax, registers_seen+40\n"
    "  movl %gs, %eax; movq %rax, registers_seen+48\n"
    "  movq %fs:0, %rax; movq %rax, registers_seen+64\n"
    "  fnstcw registers_seen+72\n"
    "  fnstsw registers_seen+76\n"
    "  stmxcsr registers_seen+80\n"
    "  jmp registers_task\n");

static int has(unsigned leaf, int of_ecx, unsigned bit) {
  unsigned a, b = 0, c = 0, d;
  return __get_cpuid_count(leaf, 0, &a, &b, &c, &d) && ((of_ecx ? c : b) >> bit & 1) != 0;
}

/* Flags, and the end of the call right behind them. */
static __attribute__((noreturn)) void end(uint64_t flags) {
  __asm__ volatile(
      "  movl 0x30000004, %%ecx\n" /* the info page: the isolation */
      "  movl $0x501, %%edx\n"
      "  xorl %%edi, %%edi\n"
      "  xorl %%esi, %%esi\n"
      "  cmpl $2, %%ecx\n"
      "  je 1f\n"
      "  movl $0x10, %%edi\n"
      "  movl $231, %%eax\n"
      "  pushq %0\n"
      "  popfq\n"
      "  syscall\n"
      "1: pushq %0\n"
      "  popfq\n"
      "  outb %%al, %%dx\n"
      "  ud2\n"
      :
      : "r"(flags)
      : "memory");
  __builtin_unreachable();
}

static void set(char letter) {
  static const uint32_t unmasked = 0x6000;
  static const uint16_t x87 = 0x0c00;
  switch (letter) {
    case 's':
      __asm__ volatile("movl %0, %%ds; movl %0, %%es; movl %0, %%gs; movl %0, %%fs" : : "r"(0x2b));
      break;
    case 'g':
      if (has(7, 0, 0)) __asm__ volatile("wrgsbase %0; wrfsbase %0" : : "r"((uint64_t)KERB_OUTPUT));
      break;
    case 'x':
      __asm__ volatile("fninit; fldcw %0; fld1; fldpi; fldl2e; fldln2; fld1; fldz; fdivrp" : : "m"(x87));
      break;
    case 'm':
      __asm__ volatile("ldmxcsr %0" : : "m"(unmasked));
      break;
    case 'p':
      if (has(7, 1, 4)) __asm__ volatile("wrpkru" : : "a"(0xfffffffc), "c"(0), "d"(0));
      break;
    default:
      break;
  }
}

int registers_task(const uint8_t *in, size_t in_size, uint8_t *out, size_t out_capacity, size_t *out_size) {
  if (in_size != 1 || out_capacity < sizeof registers_seen) return 1;
  if (in[0] != 'l') {
    set((char)in[0]);
    end(in[0] == 'f' ? 0x44cd7 : in[0] == 'i' ? 0x200202 : in[0] == 't' ? 0x302 : 0x202);
  }
  if (has(7, 0, 0)) __asm__ volatile("rdgsbase %0" : "=r"(registers_seen[7]));
  if (has(7, 1, 4)) {
    uint32_t keys;
    __asm__ volatile("rdpkru" : "=a"(keys) : "c"(0) : "edx");
    registers_seen[10] |= (uint64_t)keys << 32;
  }
  memcpy(out, registers_seen, sizeof registers_seen);
  *out_size = sizeof registers_seen;
  return 0;
}
