/* The pure part of musl: strings, numbers, sorting, regular expressions, formatted text, long jumps. */
#include <ctype.h>
#include <regex.h>
#include <setjmp.h>
#include <stdlib.h>
#include <wchar.h>

#include "guest.h"

GUEST("libc");

static jmp_buf back;

static int by_value(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

TASK {
  int values[] = {5, 3, 9, 1, 7}, parsed = 0;
  qsort(values, 5, sizeof *values, by_value);
  sscanf("x=42", "x=%d", &parsed);
  regex_t pattern;
  const int matches = regcomp(&pattern, "^[a-z]+-[0-9]{2}$", REG_EXTENDED) == 0 && regexec(&pattern, "lane-42", 0, NULL, 0) == 0;
  const int jumped = setjmp(back);
  if (jumped == 0) longjmp(back, 5);
  wchar_t wide[8];
  const size_t letters = mbstowcs(wide, "abc", 8);
  char *copy = strdup("copied");
  ANSWER("%d%d%d %d %.3f %d %d %zu %s %d %s", values[0], values[2], values[4], parsed, strtod("2.5e1", NULL), matches,
         jumped, letters, copy, toupper('a'), strstr("needle in hay", "in"));
  return 0;
}
