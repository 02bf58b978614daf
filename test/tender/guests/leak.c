/*
 * Looks for what an earlier call has left. Input: one byte, then a u64 pattern.
 *
 *   'f' fills every writable byte of the guest and every general and vector register with the pattern, and ends.
 *   'F' the same, and loops until it is killed.
 *   'X' the same, and faults.
 *   'l' looks. The pattern comes inverted, so that the looker itself does not hold it.
 *   'd' leaves one word of the pattern in the heap and one byte in its data, then looks: proves that looking finds.
 *
 * Answer of 'l': seven u64: non-zero bytes where a fresh image has only zeros; words of readable memory that equal the
 * pattern; bytes of data that differ from their initial value; general registers at entry that are not as the ABI says;
 * non-zero bytes of vector registers at entry; bytes looked at (so that a look at nothing does not pass for clean);
 * words of general and vector registers that equal the pattern where the task begins, which in isolation `vm` is right
 * after the snapshot.
 */
#include <cpuid.h>

#include "guest.h"

#define EXCHANGE 16384
#define XSAVE_ROOM 16384

#ifndef MEMORY /* leak-large.c */
#define MEMORY (1 << 20)
#endif

KERB_TASK("leak", .memory = MEMORY, .max_input = EXCHANGE, .max_output = EXCHANGE);

/* Filled by _start: rax rbx rcx rdx rsi rdi rbp rsp r8-r15 rflags. */
uint64_t general_at_entry[17];
/* The XSAVE area, or without XSAVE the FXSAVE area, as it was at entry. */
uint8_t vectors_at_entry[XSAVE_ROOM] __attribute__((aligned(64)));
/* The same at the first instruction of kerb_task. */
uint64_t general_at_task[17];
uint8_t vectors_at_task[XSAVE_ROOM] __attribute__((aligned(64)));
uint32_t has_xsave;
static uint8_t data[8192] = {[0] = 0xd0, [4000] = 0xd1, [8191] = 0xd2};
static uint8_t zeroed[65536];

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

int leak_task(const uint8_t *in, size_t in_size, uint8_t *out, size_t out_capacity, size_t *out_size);

struct region {
  uint64_t start, end;
};

static uint64_t page_up(uint64_t value) { return (value + 4095) & ~4095ull; }

/* All memory that must hold zeros when a call starts, and that it may write unless `read_only`. */
static unsigned zero_regions(struct region regions[9], const struct kerb_info *info, uint64_t stack, int read_only) {
  unsigned count = 0;
  regions[count++] = (struct region){info->heap, info->heap + info->heap_size};
  regions[count++] = (struct region){(uintptr_t)zeroed, (uintptr_t)zeroed + sizeof zeroed};
  regions[count++] = (struct region){KERB_STACK_START, (stack - 8192) & ~7ull};
  regions[count++] = (struct region){KERB_THREAD_POINTER + 512, KERB_THREAD_POINTER + 4096};
  regions[count++] = (struct region){KERB_OUTPUT, KERB_OUTPUT + EXCHANGE};
  if (info->isolation == KERB_ISOLATION_PROCESS) {
    regions[count++] = (struct region){KERB_MAILBOX, KERB_MAILBOX + 4096};
    regions[count++] = (struct region){KERB_FAULT_STACK, KERB_FAULT_STACK + KERB_FAULT_STACK_SIZE};
  }
  if (read_only) {
    regions[count++] = (struct region){(info->input + info->input_size + 7) & ~7ull, info->input + EXCHANGE};
    regions[count++] = (struct region){KERB_INFO + sizeof *info, KERB_INFO + 4096};
  }
  return count;
}

static uint64_t matches(uint64_t start, uint64_t end, uint64_t inverted) {
  uint64_t found = 0;
  for (const uint64_t *word = (const uint64_t *)start; word < (const uint64_t *)end; word++) {
    uint64_t different = *word ^ inverted; /* all ones when the word is the pattern */
    OPAQUE(different);
    found += different == ~0ull;
  }
  return found;
}

static void look(const struct kerb_info *info, uint64_t inverted, uint64_t answer[7]) {
  struct region regions[9];
  const uint64_t stack = (uintptr_t)__builtin_frame_address(0);
  const unsigned count = zero_regions(regions, info, stack, 1);
  for (unsigned i = 0; i < count; i++) {
    for (const uint64_t *word = (const uint64_t *)regions[i].start; word < (const uint64_t *)regions[i].end; word++)
      if (*word != 0)
        for (int byte = 0; byte < 8; byte++) answer[0] += (*word >> (8 * byte) & 255) != 0;
    answer[1] += matches(regions[i].start, regions[i].end, inverted);
    answer[5] += regions[i].end - regions[i].start;
  }
  answer[1] += matches(KERB_GUEST_START, page_up((uintptr_t)leak_task), inverted);
  answer[1] += matches(stack & ~7ull, KERB_STACK_TOP, inverted) + matches(KERB_THREAD_POINTER, KERB_THREAD_POINTER + 512, inverted);
  answer[1] += matches(KERB_INFO, KERB_INFO + 4096, inverted);
  if (info->isolation == KERB_ISOLATION_PROCESS) answer[1] += matches(KERB_GATE, KERB_GATE + 4096, inverted);
  for (size_t i = 0; i < sizeof data; i++)
    answer[2] += data[i] != (i == 0 ? 0xd0 : i == 4000 ? 0xd1 : i == 8191 ? 0xd2 : 0);
  for (int i = 0; i < 16; i++)
    answer[3] += general_at_entry[i] != (i == 5 ? KERB_INFO : i == 7 ? KERB_STACK_TOP : 0);
  answer[3] += (general_at_entry[16] & 0x400) != 0; /* direction flag */
  for (size_t i = 32; i < sizeof vectors_at_entry; i++) /* x87, SSE, and behind the header whatever the processor has */
    answer[4] += (i < 416 || i >= 576) && vectors_at_entry[i] != 0;
  answer[6] += matches((uintptr_t)general_at_task, (uintptr_t)general_at_task + sizeof general_at_task, inverted);
  answer[6] += matches((uintptr_t)vectors_at_task, (uintptr_t)vectors_at_task + sizeof vectors_at_task, inverted);
}

static void fill_words(uint64_t start, uint64_t end, uint64_t pattern) {
  for (volatile uint64_t *word = (uint64_t *)start; word < (uint64_t *)end; word++) *word = pattern;
}

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

/* No way back: the stack goes, too. */
/* `end`: 0 as a call should end, 1 never, 2 with a fault. */
static __attribute__((noreturn)) void fill(const struct kerb_info *info, uint64_t pattern, int end) {
  struct region regions[9];
  const unsigned count = zero_regions(regions, info, (uintptr_t)__builtin_frame_address(0), 0);
  for (unsigned i = 0; i < count; i++) fill_words(regions[i].start, regions[i].end, pattern);
  fill_words((uintptr_t)data, (uintptr_t)data + sizeof data, pattern);
  fill_words((uintptr_t)general_at_entry, (uintptr_t)general_at_entry + sizeof general_at_entry, pattern);
  kerb_log((const char *)KERB_OUTPUT, 4096);
  fill_vectors(pattern);
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

int leak_task(const uint8_t *in, size_t in_size, uint8_t *out, size_t out_capacity, size_t *out_size) {
  const struct kerb_info *info = (const struct kerb_info *)KERB_INFO;
  uint64_t pattern, answer[7] = {0};
  if (in_size < 9 || out_capacity < sizeof answer) return 1;
  memcpy(&pattern, in + 1, sizeof pattern);
  if (in[0] == 'f' || in[0] == 'F' || in[0] == 'X') fill(info, pattern, in[0] == 'f' ? 0 : in[0] == 'F' ? 1 : 2);
  if (in[0] == 'd') {
    *(volatile uint64_t *)(info->heap + 4096) = ~pattern;
    data[17] = 1;
    general_at_entry[3] = 1;
    vectors_at_entry[200] = 1;
    general_at_task[3] = ~pattern;
  }
  look(info, pattern, answer);
  memcpy(out, answer, sizeof answer);
  *out_size = sizeof answer;
  return 0;
}
