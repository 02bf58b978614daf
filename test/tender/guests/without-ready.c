/* As a task of a libOS that rings no `ready`: all of its call is what start-up is now. */
#include <libos.h>

#include "guest.h"

GUEST("without-ready");

static int counter = 41;

__attribute__((constructor)) static void call(void) {
  const struct kerb_info *info = (const struct kerb_info *)KERB_INFO;
  const int size = snprintf((char *)info->output, info->output_capacity, "counter %d, input %zu", ++counter,
                            (size_t)info->input_size);
  kerb_doorbells()->done(0, (size_t)size);
}

TASK { return 1; }
