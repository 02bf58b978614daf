#ifndef KERBSIDE_TENDER_MACHINE_AARCH64_H
#define KERBSIDE_TENDER_MACHINE_AARCH64_H

#include <elf.h>
#include <kerbside/frames.h>

#include "image.h"

#define MACHINE_ELF EM_AARCH64

/* Linux can take the virtual counter (CNTVCT_EL0) away from 6.12 on. */
#define MACHINE_COUNTER_HIDES false

/* Processors before Armv8.1 leave it to the kernel to note which pages were written to: a first write faults, read or not. */
#define MACHINE_WRITES_FAULT true

/*
 * Bytes to map around the thread pointer, whole pages. TLS variant I: the block above, after a gap of 16 bytes or its
 * alignment, which is at most a page; below lies what musl keeps of a thread.
 */
static inline uint64_t below_thread_pointer(uint64_t tls_size) {
  (void)tls_size;
  return KERB_PAGE;
}
static inline uint64_t above_thread_pointer(uint64_t tls_size) { return tls_size == 0 ? 0 : page_up(tls_size) + KERB_PAGE; }

/* Bytes of `svc`. */
#define MACHINE_SYSTEM_CALL_SIZE 4

/* A call of x86-64. */
#define MACHINE_URETPROBE 0
static inline bool machine_is_uretprobe(const struct kerb_mailbox *mailbox) {
  (void)mailbox;
  return false;
}

/* What is known of a fault beyond its signal: the syndrome, as the gate's handler found it in the signal frame. */
static inline uint32_t machine_fault(const struct kerb_mailbox *mailbox) {
  const uint32_t syndrome = mailbox->syndrome;
  return syndrome == 0 ? 0 : KERB_FAULT_SYNDROME | (syndrome >> 26) << 16 | (syndrome & 0xffff);
}

#endif
