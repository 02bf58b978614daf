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
#include "guest.h"

#define EXCHANGE 16384

#ifndef MEMORY /* leak-large.c */
#define MEMORY (1 << 20)
#endif

KERB_TASK("leak", .memory = MEMORY, .max_input = EXCHANGE, .max_output = EXCHANGE);

static void fill_words(uint64_t start, uint64_t end, uint64_t pattern) {
  for (volatile uint64_t *word = (uint64_t *)start; word < (uint64_t *)end; word++) *word = pattern;
}

/* The registers: as they were at entry and where the task begins, what of them is not as it must be, and how to fill them. */
#if defined(__x86_64__)
#include "leak_x86_64.h"
#elif defined(__aarch64__)
#include "leak_aarch64.h"
#endif

static uint8_t data[8192] = {[0] = 0xd0, [4000] = 0xd1, [8191] = 0xd2};
static uint8_t zeroed[65536];

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
  regions[count++] = (struct region){THREAD_REST_START, THREAD_REST_END};
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
  answer[1] += matches(stack & ~7ull, KERB_STACK_TOP, inverted) + matches(THREAD_USED_START, THREAD_USED_END, inverted);
  answer[1] += matches(KERB_INFO, KERB_INFO + 4096, inverted);
  if (info->isolation == KERB_ISOLATION_PROCESS) answer[1] += matches(KERB_GATE, KERB_GATE + 4096, inverted);
  for (size_t i = 0; i < sizeof data; i++)
    answer[2] += data[i] != (i == 0 ? 0xd0 : i == 4000 ? 0xd1 : i == 8191 ? 0xd2 : 0);
  answer[3] += dirty_general();
  answer[4] += dirty_vectors();
  answer[6] += matches((uintptr_t)general_at_task, (uintptr_t)general_at_task + sizeof general_at_task, inverted);
  answer[6] += matches((uintptr_t)vectors_at_task, (uintptr_t)vectors_at_task + sizeof vectors_at_task, inverted);
}

/* No way back: the stack goes, too. `end`: 0 as a call should end, 1 never, 2 with a fault. */
static __attribute__((noreturn)) void fill(const struct kerb_info *info, uint64_t pattern, int end) {
  struct region regions[9];
  const unsigned count = zero_regions(regions, info, (uintptr_t)__builtin_frame_address(0), 0);
  for (unsigned i = 0; i < count; i++) fill_words(regions[i].start, regions[i].end, pattern);
  fill_words((uintptr_t)data, (uintptr_t)data + sizeof data, pattern);
  fill_words((uintptr_t)general_at_entry, (uintptr_t)general_at_entry + sizeof general_at_entry, pattern);
  kerb_log((const char *)KERB_OUTPUT, 4096);
  fill_vectors(pattern);
  end_call(pattern, end);
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
