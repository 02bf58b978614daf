/* The tender's own seccomp filters. The guest's is in the gate (gate.h), because it is installed from there. */
#ifndef KERBSIDE_TENDER_FILTERS_H
#define KERBSIDE_TENDER_FILTERS_H

#include <stdbool.h>
#include <stdint.h>

/* Phase 1, before the image is looked at: no files, no sockets, no new programs. */
bool filter_loading(void);
/* Phase 2, before the first call: what one call needs, with its arguments where they say something. */
bool filter_serving(uint32_t isolation);
/* For the line about confinement: empty, unless this is the test build and there are no filters. */
const char *filter_warning(void);

#endif
