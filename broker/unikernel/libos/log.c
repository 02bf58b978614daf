#include <stdarg.h>
#include <stdio.h>

#include "libos.h"

void kerb_logf(const char *format, ...) {
  char line[512];
  va_list arguments;
  va_start(arguments, format);
  const int size = vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  if (size > 0) kerb_log(line, (size_t)size < sizeof line ? (size_t)size : sizeof line - 1);
}
