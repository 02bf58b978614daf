/* One entry into a virtual machine, and what it came back with. */
#ifndef KERBSIDE_TENDER_VM_EXIT_H
#define KERBSIDE_TENDER_VM_EXIT_H

#include "vm_machine_x86_64.h"

struct vm_exit {
  enum {
    EXIT_DOORBELL,    /* `port`, `first`, `second` */
    EXIT_FAULT,       /* the rest */
    EXIT_INTERRUPTED, /* a signal: look at the clock */
    EXIT_BROKEN,      /* KVM itself refuses: `reason` */
  } kind;
  uint16_t port;
  uint64_t first, second;
  uint32_t fault; /* KERB_FAULT_EXACT, the vector from bit 16, the error code from bit 0; or 0: no more is known */
  uint32_t signal;
  int32_t signal_code;
  uint64_t address, instruction, stack_pointer;
  char reason[REASON_SIZE];
};

void machine_enter(const struct machine *machine, struct vm_exit *exit);

#endif
