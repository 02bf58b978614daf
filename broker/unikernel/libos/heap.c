/*
 * malloc for one call: an arena that is given back whole when the call ends, so it never has to merge what was freed.
 *
 * A block has a 16-byte header and belongs to a size class, four classes to each doubling. Freed blocks go to the list
 * of their class and are handed out again; new ones are cut from the end of the arena. A header that is not what
 * malloc() wrote (overrun, double free, foreign pointer) ends the call.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "libos.h"

#define ALIGNMENT 16
#define CLASSES 120
#define IN_USE 0x6b65726275736564ull
#define FREED 0x6b65726266726565ull

struct block {
  uint64_t mark; /* IN_USE or FREED, xor the block's own address and size class */
  uint32_t class;
  uint32_t back; /* of an aligned pointer: its distance from the pointer that malloc() gave; else 0 */
};

_Static_assert(sizeof(struct block) == ALIGNMENT, "user data starts right after the header");

static uintptr_t arena_next, arena_end;
static struct block *freed[CLASSES];

void kerb_heap_init(uintptr_t start, size_t size) {
  arena_next = start;
  arena_end = start + size;
}

void *kerb_heap_rest(size_t kept, size_t *size) {
  const size_t left = arena_end - arena_next;
  const uintptr_t start = (arena_next + kept + KERB_PAGE - 1) & ~(uintptr_t)(KERB_PAGE - 1);
  *size = kept > left || start > arena_end ? 0 : arena_end - start;
  if (*size > 0) arena_end = start;
  return (void *)start;
}

/* Sizes 16, 32, 48, 64, then 80, 96, 112, 128, then 160, 192 ...: class c holds `class_size(c)` bytes. */
static size_t class_size(unsigned class) {
  if (class < 4) return ALIGNMENT * (class + 1);
  const unsigned doubling = class / 4 - 1;
  return ((size_t)64 << doubling) + ((size_t)16 << doubling) * (class % 4 + 1);
}

static unsigned class_of(size_t size) {
  if (size <= 64) return size == 0 ? 0 : (unsigned)((size - 1) / ALIGNMENT);
  const unsigned doubling = 63 - (unsigned)__builtin_clzll(size - 1) - 6;
  return 4 * (doubling + 1) + (unsigned)(((size - 1) >> (doubling + 4)) & 3);
}

static uint64_t mark_of(const struct block *block, uint64_t kind) {
  return kind ^ (uintptr_t)block ^ ((uint64_t)block->class << 40) ^ block->back;
}

static struct block *block_of(void *pointer) {
  if ((uintptr_t)pointer % ALIGNMENT != 0) kerb_abort(KERB_ABORT_HEAP_CORRUPT);
  struct block *block = (struct block *)pointer - 1;
  if (block->mark != mark_of(block, IN_USE)) kerb_abort(KERB_ABORT_HEAP_CORRUPT);
  return block;
}

static struct block **next_of(struct block *block) { return (struct block **)(block + 1); }

void *malloc(size_t size) {
  if (size > KERB_MAX_MEMORY) {
    errno = ENOMEM;
    return NULL;
  }
  const unsigned class = class_of(size);
  struct block *block = freed[class];
  if (block != NULL) {
    if (block->mark != mark_of(block, FREED)) kerb_abort(KERB_ABORT_HEAP_CORRUPT);
    freed[class] = *next_of(block);
  } else {
    const size_t whole = sizeof *block + class_size(class);
    if (whole > arena_end - arena_next) {
      errno = ENOMEM;
      return NULL;
    }
    block = (struct block *)arena_next;
    arena_next += whole;
    block->class = class;
    block->back = 0;
  }
  block->mark = mark_of(block, IN_USE);
  return block + 1;
}

/* The block that malloc() made and that `pointer` lies in: its own, or for aligned memory the one around it. */
static struct block *whole_block_of(void *pointer) {
  struct block *block = block_of(pointer);
  return block->back == 0 ? block : block_of((char *)pointer - block->back);
}

void free(void *pointer) {
  if (pointer == NULL) return;
  struct block *block = whole_block_of(pointer);
  block_of(pointer)->mark = 0; /* an aligned pointer is dead too */
  block->mark = mark_of(block, FREED);
  *next_of(block) = freed[block->class];
  freed[block->class] = block;
}

/* Bytes that the caller may use at `pointer`. */
size_t malloc_usable_size(void *pointer) {
  if (pointer == NULL) return 0;
  return class_size(whole_block_of(pointer)->class) - block_of(pointer)->back;
}

void *calloc(size_t count, size_t size) {
  size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes)) {
    errno = ENOMEM;
    return NULL;
  }
  void *pointer = malloc(bytes);
  return pointer == NULL ? NULL : memset(pointer, 0, bytes);
}

void *realloc(void *pointer, size_t size) {
  if (pointer == NULL) return malloc(size);
  const size_t usable = malloc_usable_size(pointer);
  if (size <= usable) return pointer;
  void *grown = malloc(size);
  if (grown == NULL) return NULL;
  memcpy(grown, pointer, usable);
  free(pointer);
  return grown;
}

void *aligned_alloc(size_t alignment, size_t size) {
  if (alignment == 0 || (alignment & (alignment - 1)) != 0 || alignment > KERB_MAX_MEMORY || size > KERB_MAX_MEMORY) {
    errno = EINVAL;
    return NULL;
  }
  if (alignment <= ALIGNMENT) return malloc(size);
  char *whole = malloc(size + alignment);
  if (whole == NULL) return NULL;
  char *aligned = (char *)(((uintptr_t)whole + alignment - 1) & ~(alignment - 1));
  if (aligned != whole) { /* at least 16 bytes apart: room for a header of its own */
    struct block *block = (struct block *)aligned - 1;
    block->class = 0;
    block->back = (uint32_t)(aligned - whole);
    block->mark = mark_of(block, IN_USE);
  }
  return aligned;
}

void *memalign(size_t alignment, size_t size) { return aligned_alloc(alignment, size); }

int posix_memalign(void **result, size_t alignment, size_t size) {
  if (alignment % sizeof(void *) != 0) return EINVAL;
  void *pointer = aligned_alloc(alignment, size);
  if (pointer == NULL) return errno;
  *result = pointer;
  return 0;
}
