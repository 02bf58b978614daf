#ifndef KERBSIDE_TENDER_MACHINE_X86_64_H
#define KERBSIDE_TENDER_MACHINE_X86_64_H

#include <elf.h>

#include "image.h"

#define MACHINE_ELF EM_X86_64

/* Every kernel can take the time-stamp counter away. */
#define MACHINE_COUNTER_HIDES true

/* The processor itself notes which pages were written to; a first write to a page that was read costs no fault. */
#define MACHINE_WRITES_FAULT false

/* Bytes to map around the thread pointer, whole pages. psABI, TLS variant II: the block below, the control block above. */
static inline uint64_t below_thread_pointer(uint64_t tls_size) { return page_up(tls_size); }
static inline uint64_t above_thread_pointer(uint64_t tls_size) {
  (void)tls_size;
  return KERB_PAGE;
}

/* What is known of a fault beyond its signal: in isolation `process` nothing. */
static inline uint32_t machine_fault(const struct kerb_mailbox *mailbox) {
  (void)mailbox;
  return 0;
}

#endif
