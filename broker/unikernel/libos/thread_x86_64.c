/*
 * The thread control block at the thread pointer; the TLS block ends there (TLS variant II). The compiler fixes two of its
 * fields (x86-64 psABI: the pointer to itself at 0, the stack protector's canary at 40); the rest is room for musl's own,
 * which start as zero.
 */
#include "libos.h"

struct thread_control_block {
  struct thread_control_block *self;
  uint64_t reserved[4];
  uint64_t canary;
};

static struct thread_control_block *thread(void) { return (void *)(uintptr_t)KERB_THREAD_POINTER; }

void *kerb_thread_block(size_t size, size_t align) {
  thread()->self = thread();
  return (char *)thread() - ((size + align - 1) & ~(align - 1));
}

void kerb_set_canary(uint64_t canary) { thread()->canary = canary; }
