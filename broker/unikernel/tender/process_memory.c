/*
 * Which pages there are is asked of the kernel, which has them in a memfd; nothing that a guest can write to is trusted. Those
 * there are get compared with the copy, or with zero; what differs is copied back or cleared. The guest's process and this one
 * have them mapped all the while, so that no call faults on a page that an earlier one has used. What recent calls have left
 * alone is given back when it becomes much more than what they use, because each comparison costs as much as there is.
 */
#define _GNU_SOURCE
#include "process_memory.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "pages.h"

#define BITS 64
#define RESTORE_MAX 8192 /* changed pages, 32 MiB, from which on all are dropped */
#define KEPT_PAGES 256   /* pages that may always stay while calls come, 1 MiB, */
#define KEPT_TIMES 4     /* or as many times those that recent calls have changed */
#define REST_PAGES 64    /* as many pages may stay while no call comes */

static struct {
  int fd;
  uint8_t *now;
  uint8_t *copy; /* as large; only pages that are not zero were ever touched */
  uint64_t size, words;
  uint64_t *nonzero; /* one bit for each page: it is in `copy`, otherwise it is zero */
  uint64_t *dirty;   /* what changed in the last run */
  uint64_t *started; /* what changed in the guest's start-up, before the snapshot was taken */
  uint64_t present;  /* pages that there are, at the last comparison */
  uint64_t changed;  /* of them changed in the last run */
  uint64_t recent;   /* and in recent ones */
} memory;

static bool has(const uint64_t *bits, uint64_t page) { return (bits[page / BITS] >> page % BITS & 1) != 0; }
static void set(uint64_t *bits, uint64_t page) { bits[page / BITS] |= 1ull << page % BITS; }

/* No guest's process has it, not even up to the gate, and no fork has to copy the way to it. */
static void *room(uint64_t size) {
  void *mapped = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return mapped == MAP_FAILED || madvise(mapped, size, MADV_DONTFORK) != 0 ? NULL : mapped;
}

static bool is_as_before(uint64_t page) {
  const uint8_t *now = memory.now + page * KERB_PAGE;
  return has(memory.nonzero, page) ? page_is_equal(now, memory.copy + page * KERB_PAGE) : page_is_zero(now);
}

static void restore_page(uint64_t page) {
  uint8_t *now = memory.now + page * KERB_PAGE;
  if (has(memory.nonzero, page))
    memcpy(now, memory.copy + page * KERB_PAGE, KERB_PAGE);
  else
    memset(now, 0, KERB_PAGE);
}

static void take_page(uint64_t page) {
  const uint8_t *now = memory.now + page * KERB_PAGE;
  memory.nonzero[page / BITS] &= ~(1ull << page % BITS);
  if (page_is_zero(now)) return;
  set(memory.nonzero, page);
  memcpy(memory.copy + page * KERB_PAGE, now, KERB_PAGE);
}

static void each(const uint64_t *bitmap, void (*apply)(uint64_t page)) {
  for (uint64_t word = 0; word < memory.words; word++)
    for (uint64_t bits = bitmap[word]; bits != 0; bits &= bits - 1) apply(word * BITS + (uint64_t)__builtin_ctzll(bits));
}

static uint64_t count(const uint64_t *bits, const uint64_t *others) {
  uint64_t total = 0;
  for (uint64_t word = 0; word < memory.words; word++) total += (uint64_t)__builtin_popcountll(bits[word] | others[word]);
  return total;
}

bool memory_compare(uint64_t *pages) {
  memset(memory.dirty, 0, memory.words * sizeof(uint64_t));
  memory.present = 0;
  for (uint64_t at = 0; at < memory.size;) {
    const off_t start = lseek(memory.fd, (off_t)at, SEEK_DATA);
    if (start < 0 && errno == ENXIO) break; /* no more of it */
    const off_t end = start < 0 ? start : lseek(memory.fd, start, SEEK_HOLE);
    if (end < 0) return false;
    for (uint64_t page = (uint64_t)start / KERB_PAGE; page < (uint64_t)end / KERB_PAGE; page++)
      if (!is_as_before(page)) set(memory.dirty, page);
    memory.present += (uint64_t)(end - start) / KERB_PAGE;
    at = (uint64_t)end;
  }
  memory.changed = count(memory.dirty, memory.dirty);
  memory.recent = memory.changed > memory.recent ? memory.changed : (3 * memory.recent + memory.changed) / 4;
  *pages = count(memory.dirty, memory.started);
  return true;
}

bool memory_prepare(const struct guest *guest) {
  memory.fd = guest->memory_fd;
  memory.now = guest->memory;
  memory.size = guest->memory_size;
  memory.words = (guest->memory_size / KERB_PAGE + BITS - 1) / BITS;
  const uint64_t bitmap = page_up(memory.words * sizeof(uint64_t));
  memory.copy = room(memory.size);
  memory.nonzero = room(bitmap);
  memory.dirty = room(bitmap);
  memory.started = room(bitmap);
  if (memory.copy == NULL || memory.nonzero == NULL || memory.dirty == NULL || memory.started == NULL) return false;
  if (!memory_take()) return false;
  memset(memory.started, 0, memory.words * sizeof(uint64_t));
  return true;
}

bool memory_take(void) {
  uint64_t pages;
  if (!memory_compare(&pages)) return false;
  each(memory.dirty, take_page);
  memcpy(memory.started, memory.dirty, memory.words * sizeof(uint64_t));
  memset(memory.dirty, 0, memory.words * sizeof(uint64_t));
  return true;
}

static bool drop_and_copy(void) {
  if (!layout_punch(memory.fd, 0, memory.size)) return false;
  each(memory.nonzero, restore_page);
  memory.present = 0;
  return true;
}

bool memory_restore(void) {
  const uint64_t kept = KEPT_TIMES * memory.recent;
  if (memory.changed > RESTORE_MAX || memory.present > (kept > KEPT_PAGES ? kept : KEPT_PAGES)) return drop_and_copy();
  each(memory.dirty, restore_page);
  return true;
}

bool memory_rest(void) {
  memory.recent = 0;
  return memory.present <= REST_PAGES || drop_and_copy();
}
