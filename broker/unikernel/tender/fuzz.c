/*
 * Fuzz target of the image check: one input, checked in a buffer of exactly its size under AddressSanitizer and
 * UndefinedBehaviorSanitizer; an accepted one must keep what the loader relies on. Run by fuzz_driver.c, or by libFuzzer
 * (README.md says how).
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "image.h"

static void insist(bool holds, const char *what) {
  if (holds) return;
  fprintf(stderr, "an image was accepted, but %s\n", what);
  __builtin_trap();
}

static void check_accepted(const struct image *image, size_t size) {
  uint64_t last = KERB_GUEST_START;
  bool entry = false;
  insist(image->segment_count > 0 && image->segment_count <= MAX_SEGMENTS, "has too many segments");
  for (unsigned i = 0; i < image->segment_count; i++) {
    const struct segment *segment = &image->segments[i];
    insist(!(segment->writable && segment->executable), "a segment is W and X");
    insist(page_down(segment->start.value) >= last, "segments overlap or descend");
    last = page_up(segment->start.value + segment->memory_size);
    insist(last <= KERB_HEAP_END, "a segment leaves the guest");
    insist(segment->file_size <= segment->memory_size, "a segment overflows its memory");
    insist(segment->file_offset <= size && segment->file_size <= size - segment->file_offset, "a segment leaves the file");
    entry |= segment->executable && image->entry.value >= segment->start.value &&
             image->entry.value < segment->start.value + segment->file_size;
  }
  insist(entry, "the entry point is not in the text");
  insist(image->heap.value > last && image->heap.value + image->heap_size <= KERB_HEAP_END, "the heap is off");
  insist(image->heap_size <= KERB_MAX_MEMORY, "the heap is too large");
  insist(image->tls_size <= KERB_MAX_TLS + KERB_PAGE, "TLS is too large");
  insist(image->manifest.max_input <= KERB_MAX_INPUT && image->manifest.max_output <= KERB_MAX_OUTPUT,
         "input or output are too large");
  insist(memchr(image->manifest.name, 0, KERB_NAME_SIZE) != NULL, "the name is open");
}

bool fuzz_accepted;

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  static struct image image;
  char reason[REASON_SIZE] = "";
  uint8_t *exact = malloc(size == 0 ? 1 : size);
  if (size > 0) memcpy(exact, bytes, size);
  fuzz_accepted = image_check(exact, size, &image, reason);
  if (fuzz_accepted)
    check_accepted(&image, size);
  else
    insist(reason[0] != 0 && memchr(reason, 0, sizeof reason) != NULL, "no reason is given");
  free(exact);
  return 0;
}
