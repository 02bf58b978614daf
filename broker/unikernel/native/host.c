/* kerbside/task.h on top of an ordinary libc. */
#include "native.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* The same bytes that KERB_TASK put into the note: three words and the owner, then the manifest. */
struct manifest_note {
  uint32_t owner_size, descriptor_size, type;
  char owner[12];
  struct kerb_note_manifest manifest;
} __attribute__((packed, aligned(4)));

extern const struct manifest_note kerb_note_manifest_;

uint64_t native_max_output(void) { return kerb_note_manifest_.manifest.max_output; }

uint8_t *native_read_input(size_t *size) {
  size_t room = 1 << 16;
  uint8_t *bytes = malloc(room);
  *size = 0;
  for (;;) {
    if (bytes == NULL) abort();
    const ssize_t got = read(0, bytes + *size, room - *size);
    if (got < 0) {
      perror("standard input");
      exit(66);
    }
    if (got == 0) return bytes;
    *size += (size_t)got;
    if (*size == room) bytes = realloc(bytes, room *= 2);
  }
}

void kerb_log(const char *text, size_t size) { fwrite(text, 1, size, stderr); }

void kerb_logf(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
}

void kerb_abort(uint32_t code) {
  fprintf(stderr, "abort %u\n", code);
  exit(1);
}

const uint8_t *kerb_seed(void) {
  static const uint8_t seed[32];
  return seed;
}

uint64_t kerb_time_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}
