/*
 * Reads a unikernel image: checks all of it before anything is believed. Pure: bytes in, a description or one sentence
 * out; maps and runs nothing, so that it can be fuzzed.
 */
#ifndef KERBSIDE_TENDER_IMAGE_H
#define KERBSIDE_TENDER_IMAGE_H

#include <kerbside/abi.h>
#include <stdbool.h>

#define MAX_SEGMENTS 16
#define REASON_SIZE 256

/* An address in the guest. A struct, so that nobody dereferences one by mistake. */
struct guest_address {
  uint64_t value;
};

struct segment {
  struct guest_address start; /* need not lie on a page; the pages around it belong to it alone */
  uint64_t memory_size;
  uint64_t file_offset;
  uint64_t file_size; /* at most memory_size; the rest is zero */
  bool writable;
  bool executable;
};

struct image {
  struct segment segments[MAX_SEGMENTS];
  unsigned segment_count;
  struct guest_address entry;
  uint64_t tls_size; /* rounded up to its alignment; 0 when there is none */
  struct guest_address heap;
  uint64_t heap_size;
  struct kerb_note_manifest manifest;
};

/* Fills `image`, or writes why not into `reason` and returns false. */
bool image_check(const uint8_t *file, uint64_t file_size, struct image *image, char reason[REASON_SIZE]);

static inline uint64_t page_down(uint64_t value) { return value & ~(uint64_t)(KERB_PAGE - 1); }
/* Only for values that were checked to lie far below 2^64. */
static inline uint64_t page_up(uint64_t value) { return page_down(value + KERB_PAGE - 1); }

#endif
