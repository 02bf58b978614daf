#define _GNU_SOURCE
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image.h"

uint8_t *image_room(uint64_t size) {
  uint8_t *bytes = mmap(NULL, size + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return bytes == MAP_FAILED ? NULL : bytes;
}

/* The whole file, for --check. */
static const uint8_t *read_image(const char *path, uint64_t *size, char reason[REASON_SIZE]) {
  struct stat status;
  const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0 || fstat(fd, &status) != 0) {
    snprintf(reason, REASON_SIZE, "cannot be opened: %s", strerror(errno));
    return NULL;
  }
  if (!S_ISREG(status.st_mode) || status.st_size > KERB_MAX_IMAGE_FILE) {
    snprintf(reason, REASON_SIZE, "not a regular file of at most %d bytes", KERB_MAX_IMAGE_FILE);
    return NULL;
  }
  *size = (uint64_t)status.st_size;
  uint8_t *bytes = image_room(*size);
  if (bytes == NULL) {
    snprintf(reason, REASON_SIZE, "no memory to read it: %s", strerror(errno));
    return NULL;
  }
  for (uint64_t have = 0; have < *size;) {
    const ssize_t got = pread(fd, bytes + have, *size - have, (off_t)have);
    if (got <= 0) {
      snprintf(reason, REASON_SIZE, "cannot be read: %s", got < 0 ? strerror(errno) : "it became shorter");
      return NULL;
    }
    have += (uint64_t)got;
  }
  close(fd);
  return bytes;
}

int check_only(const char *path) {
  static struct image image;
  char reason[REASON_SIZE];
  uint64_t size = 0;
  const uint8_t *file = read_image(path, &size, reason);
  if (file == NULL || !image_check(file, size, &image, reason)) {
    fprintf(stderr, "%s: %s\n", path, reason);
    return EXIT_REFUSED;
  }
  const struct kerb_note_manifest *manifest = &image.manifest;
  printf("{\"name\":\"%s\",\"memory\":%llu,\"maxInput\":%llu,\"maxOutput\":%llu,\"heap\":%llu}\n", manifest->name,
         (unsigned long long)manifest->memory, (unsigned long long)manifest->max_input,
         (unsigned long long)manifest->max_output, (unsigned long long)image.heap_size);
  return 0;
}
