/*
 * Two ways to know what a run has changed. Up to SCAN_MAX bytes of memory: every page is compared with the copy, or with
 * zero. That trusts nobody, costs the call itself nothing, and leaves memory that was never touched untouched. Above that KVM's dirty log says which pages to put back; when those are many, all are dropped at once
 * and the few that are not zero copied. The guest's own page tables say which pages it changed, too, and are not asked:
 * under shadow paging their dirty bits are not to be trusted.
 */
#define _GNU_SOURCE
#include "vm_snapshot.h"

#include <string.h>
#include <sys/mman.h>

/* The bench builds tenders with other values, to compare the ways. */
#ifndef SCAN_MAX
#define SCAN_MAX 0x100000
#define RESTORE_MAX 512 /* pages from which on dropping everything is cheaper */
_Static_assert(SCAN_MAX / KERB_PAGE <= RESTORE_MAX, "what is scanned is never dropped");
#endif
#define BITS 64

static uint64_t pages_of(const struct region *region) { return region->size / KERB_PAGE; }
static bool has(const uint64_t *bits, uint64_t index) { return (bits[index / BITS] >> index % BITS & 1) != 0; }

typedef uint64_t wide __attribute__((vector_size(16), may_alias));
#define WIDE_IN_PAGE (KERB_PAGE / sizeof(wide))

static bool is_zero(const uint8_t *page) {
  const wide *words = (const wide *)page;
  for (unsigned i = 0; i < WIDE_IN_PAGE; i += 16) {
    wide any = words[i];
    for (unsigned j = 1; j < 16; j++) any |= words[i + j];
    if ((any[0] | any[1]) != 0) return false;
  }
  return true;
}

/* musl's memcmp goes byte by byte. */
static bool is_equal(const uint8_t *page, const uint8_t *other) {
  const wide *left = (const wide *)page, *right = (const wide *)other;
  for (unsigned i = 0; i < WIDE_IN_PAGE; i += 16) {
    wide any = left[i] ^ right[i];
    for (unsigned j = 1; j < 16; j++) any |= left[i + j] ^ right[i + j];
    if ((any[0] | any[1]) != 0) return false;
  }
  return true;
}

static void *room(uint64_t size) {
  void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return memory == MAP_FAILED ? NULL : memory;
}

static void take_page(struct snapshot *snapshot, struct kept *kept, uint64_t page) {
  const uint8_t *from = snapshot->regions[kept->region].host + page * KERB_PAGE;
  if (is_zero(from)) {
    kept->nonzero[page / BITS] &= ~(1ull << page % BITS);
    return;
  }
  kept->nonzero[page / BITS] |= 1ull << page % BITS;
  memcpy(kept->copy + page * KERB_PAGE, from, KERB_PAGE);
}

static void restore_page(struct snapshot *snapshot, struct kept *kept, uint64_t page) {
  uint8_t *to = snapshot->regions[kept->region].host + page * KERB_PAGE;
  if (has(kept->nonzero, page))
    memcpy(to, kept->copy + page * KERB_PAGE, KERB_PAGE);
  else
    memset(to, 0, KERB_PAGE);
}

static uint64_t words_of(const struct region *region) { return (pages_of(region) + BITS - 1) / BITS; }

static bool refresh(struct snapshot *snapshot, struct kept *kept) {
  const struct region *region = &snapshot->regions[kept->region];
  if (region->logged) return machine_dirty(snapshot->machine, kept->region, kept->dirty);
  memset(kept->dirty, 0, words_of(region) * sizeof(uint64_t));
  for (uint64_t page = 0; page < pages_of(region); page++) {
    const uint8_t *now = region->host + page * KERB_PAGE;
    const bool same = has(kept->nonzero, page) ? is_equal(now, kept->copy + page * KERB_PAGE) : is_zero(now);
    if (!same) kept->dirty[page / BITS] |= 1ull << page % BITS;
  }
  return true;
}

/* Every page whose bit is set. */
static void each_page(struct snapshot *snapshot, struct kept *kept, const uint64_t *bitmap,
                      void (*apply)(struct snapshot *, struct kept *, uint64_t page)) {
  const uint64_t words = words_of(&snapshot->regions[kept->region]);
  for (uint64_t word = 0; word < words; word++)
    for (uint64_t bits = bitmap[word]; bits != 0; bits &= bits - 1)
      apply(snapshot, kept, word * BITS + (uint64_t)__builtin_ctzll(bits));
}

static bool drop_and_copy(struct snapshot *snapshot, struct kept *kept) {
  struct region *region = &snapshot->regions[kept->region];
  if (madvise(region->host, region->size, MADV_DONTNEED) != 0) return false;
  each_page(snapshot, kept, kept->nonzero, restore_page);
  return true;
}

bool snapshot_prepare(struct snapshot *snapshot, struct machine *machine, struct region *regions, unsigned count) {
  uint64_t total = 0;
  *snapshot = (struct snapshot){.machine = machine, .regions = regions};
  for (unsigned i = 0; i < count; i++)
    if (regions[i].kept) total += regions[i].size;
  for (unsigned i = 0; i < count; i++) {
    struct region *region = &regions[i];
    if (!region->kept) continue;
    region->logged = total > SCAN_MAX;
    struct kept *kept = &snapshot->kept[snapshot->kept_count++];
    const uint64_t bitmap_size = words_of(region) * sizeof(uint64_t);
    *kept = (struct kept){.region = i,
                          .copy = room(region->size),
                          .nonzero = room(bitmap_size),
                          .dirty = room(bitmap_size),
                          .started = room(bitmap_size)};
    if (kept->copy == NULL || kept->nonzero == NULL || kept->dirty == NULL || kept->started == NULL) return false;
    for (uint64_t page = 0; page < page_up(region->loaded) / KERB_PAGE; page++) take_page(snapshot, kept, page);
  }
  return true;
}

bool snapshot_take(struct snapshot *snapshot) {
  for (unsigned i = 0; i < snapshot->kept_count; i++) {
    struct kept *kept = &snapshot->kept[i];
    if (!refresh(snapshot, kept)) return false;
    each_page(snapshot, kept, kept->dirty, take_page);
    memcpy(kept->started, kept->dirty, words_of(&snapshot->regions[kept->region]) * sizeof(uint64_t));
  }
  return true;
}

bool snapshot_compare(struct snapshot *snapshot, uint64_t *pages) {
  *pages = 0;
  for (unsigned i = 0; i < snapshot->kept_count; i++) {
    struct kept *kept = &snapshot->kept[i];
    if (!refresh(snapshot, kept)) return false;
    for (uint64_t word = 0; word < words_of(&snapshot->regions[kept->region]); word++)
      *pages += (uint64_t)__builtin_popcountll(kept->dirty[word] | kept->started[word]);
  }
  return true;
}

bool snapshot_restore(struct snapshot *snapshot) {
  for (unsigned i = 0; i < snapshot->kept_count; i++) {
    struct kept *kept = &snapshot->kept[i];
    uint64_t count = 0;
    for (uint64_t word = 0; word < words_of(&snapshot->regions[kept->region]); word++)
      count += (uint64_t)__builtin_popcountll(kept->dirty[word]);
    if (count <= RESTORE_MAX)
      each_page(snapshot, kept, kept->dirty, restore_page);
    else if (!drop_and_copy(snapshot, kept))
      return false;
  }
  return true;
}

bool snapshot_restore_all(struct snapshot *snapshot) {
  for (unsigned i = 0; i < snapshot->kept_count; i++)
    if (!drop_and_copy(snapshot, &snapshot->kept[i])) return false;
  return true;
}
