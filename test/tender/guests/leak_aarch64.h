/* The registers of leak.c: all that a guest on arm64 can see. */

/* Filled by _start: x0 to x30, sp, nzcv, tpidr_el0. */
uint64_t general_at_entry[34];
/* v0 to v31, fpcr, fpsr. */
uint8_t vectors_at_entry[32 * 16 + 16] __attribute__((aligned(16)));
/* The same at the first instruction of kerb_task. */
uint64_t general_at_task[34];
uint8_t vectors_at_task[32 * 16 + 16] __attribute__((aligned(16)));

/* x16 and x17 are the registers that code between functions may use: the ABI promises nothing about them. */
#define KEEP_REGISTERS(at)                 \
  "  str x17, [sp, #-16]!\n"               \
  "  adrp x17, general_" at "\n"           \
  "  add x17, x17, :lo12:general_" at "\n" \
  "  stp x0, x1, [x17, #0]\n"              \
  "  stp x2, x3, [x17, #16]\n"             \
  "  stp x4, x5, [x17, #32]\n"             \
  "  stp x6, x7, [x17, #48]\n"             \
  "  stp x8, x9, [x17, #64]\n"             \
  "  stp x10, x11, [x17, #80]\n"           \
  "  stp x12, x13, [x17, #96]\n"           \
  "  stp x14, x15, [x17, #112]\n"          \
  "  str x16, [x17, #128]\n"               \
  "  ldr x16, [sp], #16\n"                 \
  "  str x16, [x17, #136]\n"               \
  "  stp x18, x19, [x17, #144]\n"          \
  "  stp x20, x21, [x17, #160]\n"          \
  "  stp x22, x23, [x17, #176]\n"          \
  "  stp x24, x25, [x17, #192]\n"          \
  "  stp x26, x27, [x17, #208]\n"          \
  "  stp x28, x29, [x17, #224]\n"          \
  "  str x30, [x17, #240]\n"               \
  "  mrs x16, nzcv\n"                      \
  "  str x16, [x17, #256]\n"               \
  "  mrs x16, tpidr_el0\n"                 \
  "  str x16, [x17, #264]\n"               \
  "  mov x16, sp\n"                        \
  "  str x16, [x17, #248]\n"               \
  "  adrp x17, vectors_" at "\n"           \
  "  add x17, x17, :lo12:vectors_" at "\n" \
  "  stp q0, q1, [x17, #0]\n"              \
  "  stp q2, q3, [x17, #32]\n"             \
  "  stp q4, q5, [x17, #64]\n"             \
  "  stp q6, q7, [x17, #96]\n"             \
  "  stp q8, q9, [x17, #128]\n"            \
  "  stp q10, q11, [x17, #160]\n"          \
  "  stp q12, q13, [x17, #192]\n"          \
  "  stp q14, q15, [x17, #224]\n"          \
  "  stp q16, q17, [x17, #256]\n"          \
  "  stp q18, q19, [x17, #288]\n"          \
  "  stp q20, q21, [x17, #320]\n"          \
  "  stp q22, q23, [x17, #352]\n"          \
  "  stp q24, q25, [x17, #384]\n"          \
  "  stp q26, q27, [x17, #416]\n"          \
  "  stp q28, q29, [x17, #448]\n"          \
  "  stp q30, q31, [x17, #480]\n"          \
  "  mrs x16, fpcr\n"                      \
  "  str x16, [x17, #512]\n"               \
  "  mrs x16, fpsr\n"                      \
  "  str x16, [x17, #520]\n"

/* Overrides the libOS's start: keeps every register, then goes on there. */
__asm__(
    "  .globl _start\n"
    "_start:\n" KEEP_REGISTERS("at_entry")
    "  bl kerb_start\n"
    "  brk #0\n");

/* The task itself: keeps every register, then goes on in C. */
__asm__(
    "  .globl kerb_task\n"
    "kerb_task:\n" KEEP_REGISTERS("at_task")
    "  b leak_task\n");

extern const char _start[];

static uint64_t dirty_general(void) {
  uint64_t dirty = 0;
  for (int i = 0; i < 34; i++)
    dirty += general_at_entry[i] != (i == 0    ? KERB_INFO
                                     : i == 16 ? (uintptr_t)_start
                                     : i == 31 ? KERB_STACK_TOP
                                     : i == 33 ? KERB_THREAD_POINTER
                                               : 0);
  return dirty;
}

static uint64_t dirty_vectors(void) {
  uint64_t dirty = 0;
  for (size_t i = 0; i < sizeof vectors_at_entry; i++) dirty += vectors_at_entry[i] != 0;
  return dirty;
}

/* Every vector register, and what may be set in the two that control them: default NaN, flush to zero; all flags. */
static void fill_vectors(uint64_t pattern) {
  __asm__ volatile(
      "  .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15\n"
      "  dup v\\n\\().2d, %0\n"
      "  .endr\n"
      "  .irp n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31\n"
      "  dup v\\n\\().2d, %0\n"
      "  .endr\n"
      "  msr fpcr, %1\n"
      "  msr fpsr, %2\n"
      "  msr tpidr_el0, %0\n"
      :
      : "r"(pattern), "r"(0x3000000ul), "r"(0x800009ful)
      : "memory");
}

/* What musl keeps below the thread pointer, and the rest of its page. */
#define THREAD_USED_START (KERB_THREAD_POINTER - 512)
#define THREAD_USED_END KERB_THREAD_POINTER
#define THREAD_REST_START (KERB_THREAD_POINTER - 4096)
#define THREAD_REST_END (KERB_THREAD_POINTER - 512)

/* Fills the stack and every general register, and ends the call. No way back. */
static inline __attribute__((noreturn, always_inline)) void end_call(uint64_t pattern, int end) {
  __asm__ volatile(
      "  mov x19, %0\n"
      "  mov w20, %w1\n"
      "  mov x9, #0x20000000\n"                       /* the rest of the stack, the one this runs on included */
      "  add x9, x9, #0x1000\n"
      "  add x10, x9, #0x40000\n"
      "1: str x19, [x9], #8\n"
      "  cmp x9, x10\n"
      "  b.lo 1b\n"
      "  .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30\n"
      "  mov x\\n, x19\n"
      "  .endr\n"
      "  cmp w20, #1\n"
      "2: b.eq 2b\n"
      "  b.lo 3f\n"
      "  udf #0\n"
      "3: mov x20, x19\n"
      "  mov x9, #0x3f000000\n"                       /* mailbox: status 0, no output */
      "  str wzr, [x9]\n"
      "  str xzr, [x9, #16]\n"
      "  mov x0, #0x10\n"
      "  mov x8, #94\n"
      "  svc #0\n"
      :
      : "r"(pattern), "r"(end)
      : "memory");
  __builtin_unreachable();
}
