/*
 * Standard output and standard error are the log of the call; no other file can be open. What a task or a library says there
 * goes through the log's doorbell, with its bound; single characters are gathered into lines.
 *
 * Compilers make one of these functions of another (fprintf of plain text is fwrite, printf of a line is puts), so all that
 * write are here. musl's own vfprintf and fwrite stay what snprintf is made of: build-task.sh has the linker name them
 * __real_…, and calls of them come to __wrap_….
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "libos.h"

#define PIECE 512u /* of a text that is longer than any log: its start, as many pieces as fit */

/* Never looked into: they only have to differ from NULL and from each other. */
static char standard_input, standard_output, standard_error;
FILE *const stdin = (FILE *)&standard_input, *const stdout = (FILE *)&standard_output, *const stderr = (FILE *)&standard_error;

static char line[PIECE];
static size_t line_size;

static int is_log(const FILE *file) { return file == stdout || file == stderr; }

void kerb_stdio_flush(void) {
  if (line_size > 0) kerb_doorbells()->log(line, line_size);
  line_size = 0;
}

static void say(const char *text, size_t size) {
  if (size <= KERB_MAX_LOG) return kerb_log(text, size);
  for (size_t at = 0; at + PIECE <= KERB_MAX_LOG; at += PIECE) kerb_log(text + at, PIECE);
}

size_t __real_fwrite(const void *data, size_t size, size_t count, FILE *file);
size_t __wrap_fwrite(const void *data, size_t size, size_t count, FILE *file) {
  size_t bytes;
  if (!is_log(file)) return __real_fwrite(data, size, count, file);
  if (__builtin_mul_overflow(size, count, &bytes)) return 0;
  say(data, bytes);
  return count;
}
size_t __wrap_fwrite_unlocked(const void *data, size_t size, size_t count, FILE *file) {
  return __wrap_fwrite(data, size, count, file);
}

int __real_vfprintf(FILE *file, const char *format, va_list arguments);
int __wrap_vfprintf(FILE *file, const char *format, va_list arguments) {
  return is_log(file) ? kerb_vlogf(format, arguments) : __real_vfprintf(file, format, arguments);
}
int vprintf(const char *format, va_list arguments) { return kerb_vlogf(format, arguments); }
int __vfprintf_chk(FILE *file, int flag, const char *format, va_list arguments) {
  (void)flag;
  return __wrap_vfprintf(file, format, arguments);
}
int __vprintf_chk(int flag, const char *format, va_list arguments) {
  (void)flag;
  return kerb_vlogf(format, arguments);
}

#define FORWARD(file)                                         \
  va_list arguments;                                          \
  va_start(arguments, format);                                \
  const int length = __wrap_vfprintf(file, format, arguments); \
  va_end(arguments);                                          \
  return length

int fprintf(FILE *file, const char *format, ...) { FORWARD(file); }
int __fprintf_chk(FILE *file, int flag, const char *format, ...) {
  (void)flag;
  FORWARD(file);
}
int printf(const char *format, ...) { FORWARD(stdout); }
int __printf_chk(int flag, const char *format, ...) {
  (void)flag;
  FORWARD(stdout);
}

int fputs(const char *text, FILE *file) {
  __wrap_fwrite(text, 1, strlen(text), file);
  return 0;
}
int fputs_unlocked(const char *text, FILE *file) { return fputs(text, file); }
int puts(const char *text) {
  return printf("%s\n", text) < 0 ? EOF : 0;
}

int fputc(int byte, FILE *file) {
  if (!is_log(file)) return EOF;
  line[line_size++] = (char)byte;
  if (line_size == sizeof line || byte == '\n') kerb_stdio_flush();
  return (unsigned char)byte;
}
int putc(int byte, FILE *file) { return fputc(byte, file); }
int _IO_putc(int byte, FILE *file) { return fputc(byte, file); }
int putc_unlocked(int byte, FILE *file) { return fputc(byte, file); }
int fputc_unlocked(int byte, FILE *file) { return fputc(byte, file); }
int putchar(int byte) { return fputc(byte, stdout); }
int putchar_unlocked(int byte) { return fputc(byte, stdout); }

void perror(const char *what) {
  const char *error = strerror(errno);
  if (what != NULL && *what != 0)
    fprintf(stderr, "%s: %s\n", what, error);
  else
    fprintf(stderr, "%s\n", error);
}

/* Nothing waits but a line of single characters, and nothing can go wrong that a task could hear of. */
int fflush(FILE *file) {
  if (file == NULL || is_log(file)) kerb_stdio_flush();
  return 0;
}
int setvbuf(FILE *file, char *buffer, int mode, size_t size) {
  (void)file, (void)buffer, (void)mode, (void)size;
  return 0;
}
void setbuf(FILE *file, char *buffer) { (void)file, (void)buffer; }
int ferror(FILE *file) {
  (void)file;
  return 0;
}
void clearerr(FILE *file) { (void)file; }
