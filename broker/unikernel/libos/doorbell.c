/* The doorbell layer: one table per isolation, chosen once from the info page. */
#include "libos.h"

static const struct kerb_doorbells *doorbells;

void kerb_doorbells_bind(uint32_t isolation) {
  switch (isolation) {
    case KERB_ISOLATION_PROCESS:
      doorbells = &kerb_doorbells_process;
      break;
#ifdef __x86_64__
    case KERB_ISOLATION_VM:
      doorbells = &kerb_doorbells_vm;
      break;
#endif
    default:
      __builtin_trap(); /* no doorbell to report it with */
  }
}

const struct kerb_doorbells *kerb_doorbells(void) { return doorbells; }

void kerb_abort(uint32_t code) {
  kerb_stdio_flush();
  doorbells->abort(code);
}

/* One that is too long for any log is not cut off: a pipe would do that otherwise than a virtual machine. */
void kerb_log(const char *text, size_t size) {
  kerb_stdio_flush(); /* what came before comes first */
  if (size > 0 && size <= KERB_MAX_LOG) doorbells->log(text, size);
}
