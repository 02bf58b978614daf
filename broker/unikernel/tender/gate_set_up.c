/* Puts the gate (gate.h) where calls will find it, sized for the processor at hand. */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "gate.h"
#include "layout.h"
#include "vectors.h"

#ifndef AT_MINSIGSTKSZ /* Linux 5.14 on x86-64, long before on arm64; older headers do not have it */
#define AT_MINSIGSTKSZ 51
#endif

static uintptr_t at_gate(const char *label) { return KERB_GATE + (uintptr_t)(label - kerb_gate_start); }

static bool build_gate(uint64_t entry, const struct vectors *vectors) {
  char *gate = (char *)(uintptr_t)KERB_GATE;
  const uint64_t needed[] = {vectors->mask, vectors->size == 0 ? 0 : KERB_VECTORS + vectors->size};
  if ((size_t)(kerb_gate_end - kerb_gate_start) > KERB_PAGE) {
    errno = E2BIG;
    return false;
  }
  if (!layout_map_private((struct guest_address){KERB_GATE}, KERB_PAGE, PROT_READ | PROT_WRITE)) return false;
  memcpy(gate, kerb_gate_start, (size_t)(kerb_gate_end - kerb_gate_start));
  memcpy((void *)at_gate(kerb_gate_vectors), needed, sizeof needed);
  memcpy((void *)at_gate(kerb_gate_entry), &entry, sizeof entry);
  __builtin___clear_cache(gate, gate + KERB_PAGE);
  return mprotect(gate, KERB_PAGE, PROT_READ | PROT_EXEC) == 0;
}

/* Written to as a whole, so that fork copies the way to each page and no call faults on one. */
static bool build_vectors(const struct vectors *vectors) {
  const struct guest_address start = {KERB_VECTORS};
  const uint64_t size = page_up(vectors->size);
  if (size == 0) return true;
  if (!layout_map_private(start, size, PROT_READ | PROT_WRITE)) return false;
  memset(layout_memory(start), 0, size);
  vectors_fill(layout_memory(start));
  return mprotect(layout_memory(start), size, PROT_READ) == 0;
}

/* What the kernel writes there before the handler runs; 0 where it does not say. */
static uint64_t signal_frame(void) {
#ifdef KERB_TEST_VECTORS /* a test build that takes the processor's state for so large: see Makefile */
  return KERB_TEST_VECTORS + 1024;
#else
  return getauxval(AT_MINSIGSTKSZ);
#endif
}

/* The guest's faults, and the system calls that it may not make, go to the gate. Both settings are inherited by fork, so they cost a call nothing. */
static bool direct_faults(struct guest *guest, uint64_t stack_size) {
  static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
  struct { /* the kernel's own struct: libc would put its handler's return path in, and that is not there any more */
    uintptr_t handler;
    unsigned long flags;
    uintptr_t restorer;
    uint64_t mask;
  } action = {
      .handler = at_gate(kerb_gate_fault),
      .flags = SA_SIGINFO | SA_ONSTACK | 0x04000000 /* SA_RESTORER: demanded, never used: the handler does not return */,
      .restorer = at_gate(kerb_gate_fault),
      .mask = ~0ull,
  };
  const struct guest_address start = {KERB_FAULT_STACK};
  const stack_t stack = {.ss_sp = layout_memory(start), .ss_size = stack_size};
  if (!layout_map_writable(guest, start, stack_size)) return false;
  for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
    if (syscall(SYS_rt_sigaction, faults[i], &action, NULL, sizeof action.mask) != 0) return false;
  return syscall(SYS_sigaltstack, &stack, NULL) == 0;
}

bool gate_set_up(struct guest *guest, char *reason) {
  const struct vectors vectors = vectors_look();
  const uint64_t frame = page_up(signal_frame()) + KERB_PAGE;
  const uint64_t stack = frame > KERB_FAULT_STACK_SIZE ? frame : KERB_FAULT_STACK_SIZE;
  if (vectors.size > KERB_VECTORS_MAX || stack > KERB_FAULT_STACK_MAX) {
    snprintf(reason, REASON_SIZE,
             "this processor keeps %llu bytes of vector state, and a signal frame takes %llu: isolation `process` has room for %d each",
             (unsigned long long)vectors.size, (unsigned long long)frame, KERB_VECTORS_MAX);
    return false;
  }
  if (build_vectors(&vectors) && build_gate(guest->image.entry.value, &vectors) && direct_faults(guest, stack)) return true;
  snprintf(reason, REASON_SIZE, "cannot set up isolation `process`: %s", strerror(errno));
  return false;
}
