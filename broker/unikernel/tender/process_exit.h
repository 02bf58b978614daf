/* Reading the end of a call in isolation `process`. */
#ifndef KERBSIDE_TENDER_PROCESS_EXIT_H
#define KERBSIDE_TENDER_PROCESS_EXIT_H

#include <signal.h>

#include "isolation.h"

/* A process that has ended: what `waitid` says, and what the guest, or the gate in its hands, has left in the mailbox. */
void read_exit(const siginfo_t *exit, struct ending *ending);

/* The doorbell of a guest that ends, or would, with this exit code; its values are in the mailbox. */
void read_doorbell(int code, struct ending *ending);

/* A fault: as the gate's handler has left it, or in the same form the kernel's own word. */
void read_fault(const struct kerb_mailbox *report, struct ending *ending);

#endif
