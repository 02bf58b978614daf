/* Writes to standard output and standard error in all the ways that programs do; 'l' as input: far more than a log holds. */
#include <errno.h>
#include <stdarg.h>

#include "guest.h"

GUEST("stdio");

static void say(FILE *file, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vfprintf(file, format, arguments);
  va_end(arguments);
}

TASK {
  if (in_size == 1 && in[0] == 'l') {
    static char text[20000];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = 0;
    ANSWER("%d", fwrite(text, 1, sizeof text, stderr) == sizeof text && fputs(text, stdout) >= 0);
    return 0;
  }
  fprintf(stderr, "plain\n"); /* which a compiler makes fwrite */
  fprintf(stderr, "formatted %d %s\n", 42, "text");
  fputs("put\n", stderr);
  puts("line");
  printf("one\n");
  printf("%zu and %c\n", in_size, 'c');
  for (const char *letter = "letters\n"; *letter != 0; letter++) putchar(*letter);
  fputc('a', stderr);
  putc('b', stdout);
  fputs("c\n", stderr);
  say(stdout, "%s", "by va_list\n");
  errno = ENOENT;
  perror("what");
  fwrite("01234567\n", 3, 3, stdout);
  putchar('e');
  fflush(stdout);
  char number[16];
  snprintf(number, sizeof number, "%.3f", 0.5); /* musl's own vfprintf is still there */
  ANSWER("%s", number);
  putchar('!');
  return 0;
}
