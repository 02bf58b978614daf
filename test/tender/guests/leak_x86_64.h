/* The registers of leak.c: all that a guest on x86-64 can see. */
#include <cpuid.h>

#define XSAVE_ROOM 16384

/* Filled by _start: rax rbx rcx rdx rsi rdi rbp rsp r8-r15 rflags. */
uint64_t general_at_entry[17];
/* The XSAVE area, or without XSAVE the FXSAVE area, as it was at entry. */
uint8_t vectors_at_entry[XSAVE_ROOM] __attribute__((aligned(64)));
/* The same at the first instruction of kerb_task. */
uint64_t general_at_task[17];
uint8_t vectors_at_task[XSAVE_ROOM] __attribute__((aligned(64)));
uint32_t has_xsave;
/* Overrides the libOS's start: keeps every register, then goes on there. */
__asm__(
    "  .globl _start\n"
    "_start:\n"
    "  movq %rax, general_at_entry+0\n"
    "  movq %rbx, general_at_entry+8\n"
    "  movq %rcx, general_at_entry+16\n"
    "  movq %rdx, general_at_entry+24\n"
    "  movq %rsi, general_at_entry+32\n"
    "  movq %rdi, general_at_entry+40\n"
    "  movq %rbp, general_at_entry+48\n"
    "  movq %rsp, general_at_entry+56\n"
    "  movq %r8, general_at_entry+64\n"
    "  movq %r9, general_at_entry+72\n"
    "  movq %r10, general_at_entry+80\n"
    "  movq %r11, general_at_entry+88\n"
    "  movq %r12, general_at_entry+96\n"
    "  movq %r13, general_at_entry+104\n"
    "  movq %r14, general_at_entry+112\n"
    "  movq %r15, general_at_entry+120\n"
    "  pushfq\n"
    "  popq general_at_entry+128\n"
    "  movl $1, %eax\n"
    "  cpuid\n"
    "  btl $27, %ecx\n"
    "  jnc 1f\n"
    "  movl $1, has_xsave\n"
    "  movl $-1, %eax\n"
    "  movl $-1, %edx\n"
    "  xsave64 vectors_at_entry\n"
    "  jmp 2f\n"
    "1: fxsave64 vectors_at_entry\n"
    "2: movq general_at_entry+40, %rdi\n"
    "  call kerb_start\n"
    "  ud2\n");

/* The task itself: keeps every register, then goes on in C. */
__asm__(
    "  .globl kerb_task\n"
    "kerb_task:\n"
    "  movq %rax, general_at_task+0\n"
    "  movq %rbx, general_at_task+8\n"
    "  movq %rcx, general_at_task+16\n"
    "  movq %rdx, general_at_task+24\n"
    "  movq %rsi, general_at_task+32\n"
    "  movq %rdi, general_at_task+40\n"
    "  movq %rbp, general_at_task+48\n"
    "  movq %r8, general_at_task+64\n"
    "  movq %r9, general_at_task+72\n"
    "  movq %r10, general_at_task+80\n"
    "  movq %r11, general_at_task+88\n"
    "  movq %r12, general_at_task+96\n"
    "  movq %r13, general_at_task+104\n"
    "  movq %r14, general_at_task+112\n"
    "  movq %r15, general_at_task+120\n"
    "  movl $-1, %eax\n"
    "  movl $-1, %edx\n"
    "  cmpl $0, has_xsave\n"
    "  je 1f\n"
    "  xsave64 vectors_at_task\n"
    "  jmp 2f\n"
    "1: fxsave64 vectors_at_task\n"
    "2: movq general_at_task+0, %rax\n"
    "  movq general_at_task+24, %rdx\n"
    "  jmp leak_task\n");

/* An XSAVE area whose every register byte is the pattern: x87, SSE, AVX, AVX-512. */
static void fill_vectors(uint64_t pattern) {
  static uint8_t area[XSAVE_ROOM] __attribute__((aligned(64)));
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || (c & (1u << 27)) == 0) return;
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  low &= 0xe7; /* x87, SSE, AVX, opmask, both halves of AVX-512 */
  __asm__ volatile("xsave64 %0" : "+m"(area) : "a"(low), "d"(0));
  fill_words((uintptr_t)area + 32, (uintptr_t)area + 416, pattern);
  for (unsigned component = 2; component < 8; component++)
    if ((low >> component & 1) != 0 && __get_cpuid_count(0xd, component, &a, &b, &c, &d))
      fill_words((uintptr_t)area + b, (uintptr_t)area + b + a, pattern);
  const uint64_t present = low;
  memcpy(area + 512, &present, sizeof present);
  __asm__ volatile("xrstor64 %0" : : "m"(area), "a"(low), "d"(0));
}

static uint64_t dirty_general(void) {
  uint64_t dirty = 0;
  for (int i = 0; i < 16; i++) dirty += general_at_entry[i] != (i == 5 ? KERB_INFO : i == 7 ? KERB_STACK_TOP : 0);
  return dirty + ((general_at_entry[16] & 0x400) != 0); /* direction flag */
}

/* x87, SSE, and behind the header whatever the processor has. */
static uint64_t dirty_vectors(void) {
  uint64_t dirty = 0;
  for (size_t i = 32; i < sizeof vectors_at_entry; i++) dirty += (i < 416 || i >= 576) && vectors_at_entry[i] != 0;
  return dirty;
}

/* What the libOS writes at the thread pointer, and the rest of its page. */
#define THREAD_USED_START KERB_THREAD_POINTER
#define THREAD_USED_END (KERB_THREAD_POINTER + 512)
#define THREAD_REST_START (KERB_THREAD_POINTER + 512)
#define THREAD_REST_END (KERB_THREAD_POINTER + 4096)

/* Fills the stack and every general register, and ends the call. No way back. */
static inline __attribute__((noreturn, always_inline)) void end_call(uint64_t pattern, int end) {
  __asm__ volatile(
      "  movq %0, %%rbx\n"
      "  movl %k1, %%r15d\n"
      "  movq $0x20001000, %%rcx\n"                     /* the rest of the stack, the one this runs on included */
      "1: movq %%rbx, (%%rcx)\n"
      "  addq $8, %%rcx\n"
      "  cmpq $0x20041000, %%rcx\n"
      "  jb 1b\n"
      "  movq %%rbx, %%rcx; movq %%rbx, %%rdx; movq %%rbx, %%rsi; movq %%rbx, %%rbp\n"
      "  movq %%rbx, %%r8; movq %%rbx, %%r9; movq %%rbx, %%r10; movq %%rbx, %%r11\n"
      "  movq %%rbx, %%r12; movq %%rbx, %%r13; movq %%rbx, %%r14\n"
      "2: cmpl $1, %%r15d\n"
      "  je 2b\n"
      "  jb 4f\n"
      "  ud2\n"
      "4:\n"
      "  movq %%rbx, %%r15\n"
      "  cmpl $2, 0x30000004\n"                          /* the info page: isolation `vm`, whose doorbell this is */
      "  jne 3f\n"
      "  movl $0x501, %%edx\n"
      "  movl $0, %%edi\n"
      "  movl $0, %%esi\n"
      "  outb %%al, %%dx\n"
      "3: movl $0, 0x3f000000\n"                          /* mailbox: status 0, no output */
      "  movq $0, 0x3f000010\n"
      "  movl $0x10, %%edi\n"
      "  movl $231, %%eax\n"
      "  syscall\n"
      :
      : "r"(pattern), "r"(end)
      : "memory");
  __builtin_unreachable();
}
