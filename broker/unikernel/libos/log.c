#include <stdarg.h>
#include <stdio.h>

#include "libos.h"

int kerb_vlogf(const char *format, va_list arguments) {
  char line[KERB_MAX_LOG + 1]; /* what is longer than any log is cut off */
  const int size = vsnprintf(line, sizeof line, format, arguments);
  if (size > 0) kerb_log(line, (size_t)size < sizeof line ? (size_t)size : sizeof line - 1);
  return size;
}

void kerb_logf(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  kerb_vlogf(format, arguments);
  va_end(arguments);
}
