#ifndef KERBSIDE_TENDER_MACHINE_X86_64_H
#define KERBSIDE_TENDER_MACHINE_X86_64_H

#include <elf.h>
#include <signal.h>

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

/* Bytes of the instruction that makes a system call, be it `syscall` or `int $0x80`. */
#define MACHINE_SYSTEM_CALL_SIZE 2

/*
 * Linux 6.11 and later let `uretprobe` pass every filter, because its own trampolines make it. To others the kernel answers
 * with a SIGILL of its own, which no instruction raises: that of an invalid one has the code ILL_ILLOPN.
 */
#define MACHINE_URETPROBE 335
static inline bool machine_is_uretprobe(const struct kerb_mailbox *mailbox) {
  return mailbox->signal == SIGILL && mailbox->signal_code == 0x80 /* SI_KERNEL */;
}

/* What is known of a fault beyond its signal: in isolation `process` nothing. */
static inline uint32_t machine_fault(const struct kerb_mailbox *mailbox) {
  (void)mailbox;
  return 0;
}

#endif
