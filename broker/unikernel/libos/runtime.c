/*
 * What compilers, musl's pure part and Debian's static libraries (which were built against glibc's headers) expect to
 * find: ends of the program, locks that one thread never needs, and the bounds-checking twins of string functions.
 */
#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "libos.h"

#define HIDDEN __attribute__((visibility("hidden")))

void abort(void) { kerb_abort(KERB_ABORT_CALLED); }

void exit(int code) {
  kerb_logf("exit(%d) called: a task returns its status instead\n", code);
  kerb_abort(KERB_ABORT_EXIT);
}

void _Exit(int code) { exit(code); }

void __assert_fail(const char *condition, const char *file, int line, const char *function) {
  kerb_logf("assertion failed: %s (%s:%d, %s)\n", condition, file, line, function);
  kerb_abort(KERB_ABORT_ASSERT);
}

/* The stack is overwritten: touch as little as possible. */
__attribute__((noreturn)) void __stack_chk_fail(void) { kerb_abort(KERB_ABORT_STACK_SMASHED); }

/* musl's own names. One thread, no open files: nothing to lock, nothing to flush at exit. */
HIDDEN int __lockfile(FILE *file) {
  (void)file;
  return 0;
}
HIDDEN void __unlockfile(FILE *file) { (void)file; }
HIDDEN void __lock(volatile int *lock) { (void)lock; }
HIDDEN void __unlock(volatile int *lock) { (void)lock; }
HIDDEN void __stdio_exit_needed(void) {}

/* There is no environment. */
char *getenv(const char *name) {
  (void)name;
  return NULL;
}
char *secure_getenv(const char *name) { return getenv(name); }

/* No unwinding: C only, and destructors have nothing to outlive. */
int __cxa_atexit(void (*function)(void *), void *argument, void *object) {
  (void)function, (void)argument, (void)object;
  return 0;
}
int atexit(void (*function)(void)) {
  (void)function;
  return 0;
}
void *__dso_handle = NULL;

/* glibc's _FORTIFY_SOURCE names (Linux Standard Base, "checking" interfaces): the same functions with the room left. */
__attribute__((noreturn)) void __chk_fail(void) { kerb_abort(KERB_ABORT_BUFFER); }

static void need(size_t room, size_t size) {
  if (size > room) __chk_fail();
}

void *__memcpy_chk(void *to, const void *from, size_t size, size_t room) {
  need(room, size);
  return memcpy(to, from, size);
}
void *__memmove_chk(void *to, const void *from, size_t size, size_t room) {
  need(room, size);
  return memmove(to, from, size);
}
void *__mempcpy_chk(void *to, const void *from, size_t size, size_t room) {
  need(room, size);
  return (char *)memcpy(to, from, size) + size;
}
void *__memset_chk(void *to, int byte, size_t size, size_t room) {
  need(room, size);
  return memset(to, byte, size);
}
void __explicit_bzero_chk(void *to, size_t size, size_t room) {
  need(room, size);
  explicit_bzero(to, size);
}
char *__strcpy_chk(char *to, const char *from, size_t room) {
  need(room, strlen(from) + 1);
  return strcpy(to, from);
}
char *__stpcpy_chk(char *to, const char *from, size_t room) {
  need(room, strlen(from) + 1);
  return stpcpy(to, from);
}
char *__strncpy_chk(char *to, const char *from, size_t size, size_t room) {
  need(room, size);
  return strncpy(to, from, size);
}
char *__strcat_chk(char *to, const char *from, size_t room) {
  need(room, strlen(to) + strlen(from) + 1);
  return strcat(to, from);
}
char *__strncat_chk(char *to, const char *from, size_t size, size_t room) {
  need(room, strlen(to) + strnlen(from, size) + 1);
  return strncat(to, from, size);
}
int __vsnprintf_chk(char *to, size_t size, int flag, size_t room, const char *format, va_list arguments) {
  (void)flag;
  need(room, size);
  return vsnprintf(to, size, format, arguments);
}
int __snprintf_chk(char *to, size_t size, int flag, size_t room, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  const int length = __vsnprintf_chk(to, size, flag, room, format, arguments);
  va_end(arguments);
  return length;
}
int __vsprintf_chk(char *to, int flag, size_t room, const char *format, va_list arguments) {
  (void)flag;
  const int length = vsnprintf(to, room, format, arguments);
  if (length >= 0) need(room, (size_t)length + 1);
  return length;
}
int __sprintf_chk(char *to, int flag, size_t room, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  const int length = __vsprintf_chk(to, flag, room, format, arguments);
  va_end(arguments);
  return length;
}

/* glibc's setjmp macros: there are no signals whose mask could be saved. */
__attribute__((noreturn)) void __longjmp_chk(jmp_buf buffer, int value) { longjmp(buffer, value); }

/* glibc 2.38 and later give C23's number parsers names of their own. */
long __isoc23_strtol(const char *text, char **end, int base) { return strtol(text, end, base); }
unsigned long __isoc23_strtoul(const char *text, char **end, int base) { return strtoul(text, end, base); }
long long __isoc23_strtoll(const char *text, char **end, int base) { return strtoll(text, end, base); }
unsigned long long __isoc23_strtoull(const char *text, char **end, int base) { return strtoull(text, end, base); }
int __isoc23_sscanf(const char *text, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  const int count = vsscanf(text, format, arguments);
  va_end(arguments);
  return count;
}
