/* Isolation `vm` is x86-64's: on arm64 the answer is one clear sentence, and `auto` means isolation `process`. */
#include <stdio.h>

#include "isolation.h"

bool vm_open(char reason[REASON_SIZE]) {
  snprintf(reason, REASON_SIZE, "isolation `vm` is not supported on this machine: there is none for arm64");
  return false;
}

bool vm_prove(char reason[REASON_SIZE]) { return vm_open(reason); }

bool vm_stand_by(char reason[REASON_SIZE]) { return vm_open(reason); }

uint64_t vm_fault_ns(void) { return 0; }

void vm_close(void) {}

/* Never chosen: it cannot be opened. */
const struct isolation isolation_vm = {.id = KERB_ISOLATION_VM};
