/*
 * The memory of a guest that is kept, as it was at one moment, and the way back to it. The guest is stopped, or ended, in all
 * of these.
 */
#ifndef KERBSIDE_TENDER_PROCESS_MEMORY_H
#define KERBSIDE_TENDER_PROCESS_MEMORY_H

#include "layout.h"

/* After layout_seal_memory. The first snapshot is what the image holds. */
bool memory_prepare(const struct guest *guest);
/* Takes the memory as it is now, at the end of the guest's start-up. */
bool memory_take(void);
/* Finds out what the run since then has changed. `pages`: how many that are, with those of the guest's start-up. */
bool memory_compare(uint64_t *pages);
/* Back to it, after a comparison and no run since. */
bool memory_restore(void);
/* No call has come for a while: gives memory back that was kept for the next one. */
bool memory_rest(void);

#endif
