/* Reading the end of a call's process in isolation `process`. */
#ifndef KERBSIDE_TENDER_PROCESS_EXIT_H
#define KERBSIDE_TENDER_PROCESS_EXIT_H

#include <signal.h>

#include "isolation.h"

/* What `waitid` says and what the guest, or the gate in its hands, has left in the mailbox. */
void read_exit(const siginfo_t *exit, struct ending *ending);

#endif
