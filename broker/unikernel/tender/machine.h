/* What the tender has to know of the processor that it was built for; seccomp filters and gates have files of their own. */
#ifndef KERBSIDE_TENDER_MACHINE_H
#define KERBSIDE_TENDER_MACHINE_H

#include <stdbool.h>

/* Tried by doing, when the kernel has said that the counter is switched off: some hypervisors do not obey. */
bool machine_counter_readable(void);

#if defined(__x86_64__)
#include "machine_x86_64.h"
#elif defined(__aarch64__)
#include "machine_aarch64.h"
#endif

#endif
