/*
 * Two ways to know what a run has changed. One compares every page with the copy, or with zero: it trusts nobody, costs the
 * run itself nothing, and as much as there is memory afterwards. KVM's dirty log costs the run a fault for each page that it
 * writes to first, some microseconds here and tens of them there, and next to nothing afterwards. Up to SCAN_MAX bytes pages
 * are compared. Above that the tender chooses the way that is cheaper on its machine for calls as its last ones were: what a
 * fault costs was measured in the self-test, what a comparison costs each one says itself.
 *
 * Either way pages are put back by copying or clearing, so that the next call finds them mapped; what is too much to keep is
 * dropped, and so is what was kept when no call has come for a while. The guest's own page tables say which pages it
 * changed, too, and are not asked: under shadow paging their dirty bits are not to be trusted.
 */
#define _GNU_SOURCE
#include "vm_snapshot.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "pages.h"

/* The bench builds tenders that know one way only, to compare them. */
#ifndef SCAN_MAX
#define SCAN_MAX 0x100000
#define RESTORE_MAX 8192 /* pages of a region, 32 MiB, from which on they are dropped */
#define LEARNS true
_Static_assert(SCAN_MAX / KERB_PAGE <= RESTORE_MAX, "what is scanned is never dropped");
#else
#define LEARNS false
#endif
#define LEAST_SCAN_NS 20 /* a page is not compared faster than this */
#define REST_PAGES 64 /* as many pages may stay while no call comes */
#define BITS 64

static uint64_t pages_of(const struct region *region) { return region->size / KERB_PAGE; }
static bool has(const uint64_t *bits, uint64_t index) { return (bits[index / BITS] >> index % BITS & 1) != 0; }

static uint64_t now_ns(void) {
  struct timespec now;
  syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now); /* not the vDSO: see layout_begin */
  return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void *room(uint64_t size) {
  void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return memory == MAP_FAILED ? NULL : memory;
}

static void take_page(struct snapshot *snapshot, struct kept *kept, uint64_t page) {
  const uint8_t *from = snapshot->regions[kept->region].host + page * KERB_PAGE;
  if (page_is_zero(from)) {
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
    const bool same = has(kept->nonzero, page) ? page_is_equal(now, kept->copy + page * KERB_PAGE) : page_is_zero(now);
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

bool snapshot_prepare(struct snapshot *snapshot, struct machine *machine, struct region *regions, unsigned count,
                      uint64_t fault_ns) {
  uint64_t total = 0;
  *snapshot = (struct snapshot){.machine = machine, .regions = regions, .fault_ns = fault_ns};
  for (unsigned i = 0; i < count; i++)
    if (regions[i].kept) total += regions[i].size;
  snapshot->pages = total / KERB_PAGE;
  snapshot->logged = total > SCAN_MAX;
  for (unsigned i = 0; i < count; i++) {
    struct region *region = &regions[i];
    if (!region->kept) continue;
    region->logged = snapshot->logged;
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

static uint64_t count_bits(const uint64_t *bits, const uint64_t *others, uint64_t words) {
  uint64_t count = 0;
  for (uint64_t word = 0; word < words; word++)
    count += (uint64_t)__builtin_popcountll(bits[word] | (others == NULL ? 0 : others[word]));
  return count;
}

/* Three quarters of what was known: one call that was held up, or was of another kind, says little. */
static uint64_t blend(uint64_t known, uint64_t seen) { return known == 0 ? seen : (3 * known + seen) / 4; }

bool snapshot_compare(struct snapshot *snapshot, uint64_t *pages) {
  const uint64_t began = now_ns();
  uint64_t changed = 0;
  *pages = 0;
  for (unsigned i = 0; i < snapshot->kept_count; i++) {
    struct kept *kept = &snapshot->kept[i];
    const uint64_t words = words_of(&snapshot->regions[kept->region]);
    if (!refresh(snapshot, kept)) return false;
    changed += count_bits(kept->dirty, NULL, words);
    *pages += count_bits(kept->dirty, kept->started, words);
  }
  const uint64_t took = now_ns() - began;
  if (snapshot->logged)
    snapshot->log_ns = blend(snapshot->log_ns, took);
  else
    snapshot->scan_ns = blend(snapshot->scan_ns, took);
  snapshot->changed = blend(snapshot->changed, changed);
  return true;
}

/* With nothing to compare: how long it takes to look at everything. Twice, because the first look maps what nobody has used. */
static void try_scan(struct snapshot *snapshot) {
  if (snapshot->scan_ns == 0) {
    snapshot->scan_ns = 1;
    try_scan(snapshot);
  }
  const uint64_t began = now_ns();
  for (unsigned i = 0; i < snapshot->kept_count; i++) {
    const struct region *region = &snapshot->regions[snapshot->kept[i].region];
    for (uint64_t page = 0; page < pages_of(region); page++)
      if (!page_is_zero(region->host + page * KERB_PAGE)) __asm__ volatile("" ::: "memory");
  }
  snapshot->scan_ns = now_ns() - began;
}

bool snapshot_choose(struct snapshot *snapshot) {
  if (!LEARNS || snapshot->pages * KERB_PAGE <= SCAN_MAX) return true;
  const uint64_t faults = snapshot->changed * snapshot->fault_ns, log = snapshot->log_ns + faults;
  /* Worth a look at all: the memory is not looked through as long as calls write to little of it. */
  if (snapshot->scan_ns == 0 && faults > snapshot->pages * LEAST_SCAN_NS) try_scan(snapshot);
  /* A quarter better, so that two ways that cost the same do not take turns. */
  const bool change = snapshot->scan_ns != 0 && (snapshot->logged ? snapshot->scan_ns + snapshot->scan_ns / 4 < log
                                                                  : log + log / 4 < snapshot->scan_ns);
  if (!change) return true;
  snapshot->logged = !snapshot->logged;
  for (unsigned i = 0; i < snapshot->kept_count; i++)
    if (!machine_log(snapshot->machine, &snapshot->regions[snapshot->kept[i].region], snapshot->kept[i].region,
                     snapshot->logged))
      return false;
  return true;
}

bool snapshot_restore(struct snapshot *snapshot) {
  for (unsigned i = 0; i < snapshot->kept_count; i++) {
    struct kept *kept = &snapshot->kept[i];
    const uint64_t count = count_bits(kept->dirty, NULL, words_of(&snapshot->regions[kept->region]));
    if (count <= RESTORE_MAX) {
      each_page(snapshot, kept, kept->dirty, restore_page);
      snapshot->held += count;
    } else if (!drop_and_copy(snapshot, kept)) {
      return false;
    }
  }
  return true;
}

bool snapshot_restore_all(struct snapshot *snapshot) {
  for (unsigned i = 0; i < snapshot->kept_count; i++)
    if (!drop_and_copy(snapshot, &snapshot->kept[i])) return false;
  snapshot->held = 0;
  return true;
}

bool snapshot_rest(struct snapshot *snapshot) {
  return snapshot->held <= REST_PAGES || snapshot_restore_all(snapshot);
}
