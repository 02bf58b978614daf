/*
 * The doorbells of isolation `vm`: one `out` each, values in registers (kerbside/abi.h). The tender hears it as an exit of
 * the virtual machine; after `done` and `abort` it does not enter again.
 */
#include "libos.h"

static void ring(uint16_t port, uint64_t first, uint64_t second) {
  __asm__ volatile("outb %%al, %%dx" : : "a"(0), "d"(port), "D"(first), "S"(second) : "memory");
}

/* The snapshot: every call goes on from here, so whatever came in before is only true for start-up. */
static void ready(void) { ring(KERB_DOORBELL_READY, 0, 0); }

static __attribute__((noreturn)) void done(uint32_t status, uint64_t output_size) {
  for (;;) ring(KERB_DOORBELL_DONE, status, output_size);
}

static __attribute__((noreturn)) void abort_call(uint32_t code) {
  for (;;) ring(KERB_DOORBELL_ABORT, code, 0);
}

static void log_text(const void *text, size_t size) { ring(KERB_DOORBELL_LOG, (uintptr_t)text, size); }

const struct kerb_doorbells kerb_doorbells_vm = {
    .ready = ready,
    .done = done,
    .abort = abort_call,
    .log = log_text,
};
