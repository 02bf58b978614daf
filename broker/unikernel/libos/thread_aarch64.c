/*
 * The TLS block lies above the thread pointer, after two words and at its alignment (TLS variant I, ELF for the Arm 64-bit
 * architecture). Below is what musl keeps of a thread, which starts as zero. The stack protector's canary is an ordinary
 * variable.
 */
#include "libos.h"

#define GAP 16

uintptr_t __stack_chk_guard;

void *kerb_thread_block(size_t size, size_t align) {
  (void)size;
  return (char *)(uintptr_t)KERB_THREAD_POINTER + ((GAP + align - 1) & ~(align - 1));
}

void kerb_set_canary(uint64_t canary) { __stack_chk_guard = canary; }
