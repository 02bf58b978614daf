/*
 * Fuzz target of the image check, built with AddressSanitizer and UndefinedBehaviorSanitizer:
 *
 *   fuzz-image IMAGE SEED COUNT
 *
 * Mutates a good image COUNT times, mostly in the headers and notes, and checks each result in a buffer of exactly its
 * size. An accepted mutant must keep what the loader relies on. Deterministic for a seed; prints accepted and refused.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image.h"

static uint64_t state;

static uint64_t next_random(void) { /* xorshift64*, Marsaglia 2003 and Vigna 2016 */
  state ^= state >> 12;
  state ^= state << 25;
  state ^= state >> 27;
  return state * 0x2545f4914f6cdd1dull;
}

static uint64_t strange_number(void) {
  static const uint64_t numbers[] = {0,          1,          0xff,        0x1000,           0xfff,
                                     0x7fffffff, 0x80000000, 0xffffffff,  0x100000000,      0x7fffffffffffffff,
                                     ~0ull,      ~0xfffull,  0x100000,    0x20000000,       0xfffffffffffff000};
  const uint64_t pick = next_random();
  return pick % 4 == 0 ? next_random() : numbers[pick / 4 % (sizeof numbers / sizeof *numbers)] + (pick >> 60) - 8;
}

/* Where mutations hit most: the headers at the start, and the notes. */
static size_t headers_size, notes_start;

static size_t pick_place(size_t size) {
  const uint64_t pick = next_random();
  if (pick % 8 < 4 && headers_size < size) return pick / 8 % headers_size;
  if (pick % 8 < 7 && notes_start + 160 < size) return notes_start + pick / 8 % 160;
  return pick / 8 % size;
}

static void mutate(uint8_t *bytes, size_t size) {
  for (unsigned count = 1 + next_random() % 4; count > 0; count--) {
    const size_t at = pick_place(size);
    const uint64_t number = strange_number();
    const size_t width = (size_t)1 << next_random() % 4;
    memcpy(bytes + at, &number, width < size - at ? width : size - at);
  }
}

static void insist(bool holds, const char *what, uint64_t round) {
  if (holds) return;
  fprintf(stderr, "mutant %llu was accepted, but %s\n", (unsigned long long)round, what);
  abort();
}

static void check_accepted(const struct image *image, size_t size, uint64_t round) {
  uint64_t last = KERB_GUEST_START;
  bool entry = false;
  for (unsigned i = 0; i < image->segment_count; i++) {
    const struct segment *segment = &image->segments[i];
    insist(!(segment->writable && segment->executable), "a segment is W and X", round);
    insist(page_down(segment->start.value) >= last, "segments overlap or descend", round);
    last = page_up(segment->start.value + segment->memory_size);
    insist(last <= KERB_HEAP_END, "a segment leaves the guest", round);
    insist(segment->file_size <= segment->memory_size, "a segment overflows its memory", round);
    insist(segment->file_offset + segment->file_size <= size, "a segment leaves the file", round);
    entry |= segment->executable && image->entry.value >= segment->start.value &&
             image->entry.value < segment->start.value + segment->file_size;
  }
  insist(entry, "the entry point is not in the text", round);
  insist(image->heap.value > last && image->heap.value + image->heap_size <= KERB_HEAP_END, "the heap is off", round);
  insist(image->tls_size <= KERB_MAX_TLS + KERB_PAGE, "TLS is too large", round);
  insist(memchr(image->manifest.name, 0, KERB_NAME_SIZE) != NULL, "the name is open", round);
}

int main(int count, char **arguments) {
  static uint8_t good[KERB_MAX_IMAGE_FILE];
  if (count != 4) return 64;
  FILE *file = fopen(arguments[1], "rb");
  if (file == NULL) return 66;
  const size_t whole = fread(good, 1, sizeof good, file);
  fclose(file);
  headers_size = 64 + 6 * 56;
  const uint8_t *owner = memmem(good, whole, KERB_NOTE_OWNER, KERB_NOTE_OWNER_SIZE);
  if (owner == NULL || owner - good < 12) return 66;
  notes_start = (size_t)(owner - good) - 12;
  state = strtoull(arguments[2], NULL, 10) * 2 + 1;
  const uint64_t rounds = strtoull(arguments[3], NULL, 10);
  uint64_t accepted = 0;
  for (uint64_t round = 0; round < rounds; round++) {
    const size_t size = next_random() % 16 == 0 ? next_random() % (whole + 1) : whole;
    uint8_t *mutant = malloc(size == 0 ? 1 : size);
    static struct image image;
    char reason[REASON_SIZE];
    memcpy(mutant, good, size);
    if (size > 0) mutate(mutant, size);
    if (image_check(mutant, size, &image, reason)) {
      accepted++;
      check_accepted(&image, size, round);
    }
    free(mutant);
  }
  printf("{\"accepted\":%llu,\"refused\":%llu}\n", (unsigned long long)accepted,
         (unsigned long long)(rounds - accepted));
  return 0;
}
