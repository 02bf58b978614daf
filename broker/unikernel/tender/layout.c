#define _GNU_SOURCE
#include "layout.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "machine.h"
#include "pages.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

/* Of each memfd, in bytes: what a guest that outlives its calls always keeps; what is kept of an input; and of an output for processes. */
#define KEPT_MIN 0x40000
#define INPUT_KEPT_MAX 0x100000
#define PREMAPPED_MAX 0x400000

/* The one place where a guest address becomes a pointer of this process. */
static void *host_pointer(struct guest_address address) { return (void *)(uintptr_t)address.value; }

static bool map_at(struct guest_address start, uint64_t size, int protection, int flags, int fd, uint64_t offset) {
  if (size == 0) return true;
  void *wanted = host_pointer(start);
  void *mapped = mmap(wanted, size, protection, flags | MAP_FIXED_NOREPLACE, fd, (off_t)offset);
  if (mapped == wanted) return true;
  if (mapped != MAP_FAILED) { /* a kernel before 4.17 takes the address for a hint */
    munmap(mapped, size);
    errno = EEXIST;
  }
  return false;
}

bool layout_map_private(struct guest_address start, uint64_t size, int protection) {
  return map_at(start, size, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

bool layout_map_writable(struct guest *guest, struct guest_address start, uint64_t size) {
  const uint64_t offset = guest->memory_size;
  if (guest->memory_fd < 0) return layout_map_private(start, size, PROT_READ | PROT_WRITE);
  if (ftruncate(guest->memory_fd, (off_t)(offset + size)) != 0) return false;
  guest->memory_size += size;
  return map_at(start, size, PROT_READ | PROT_WRITE, MAP_SHARED, guest->memory_fd, offset);
}

/*
 * Text and constants are anonymous and private: fork shares the pages and copies the page-table entries, so that a call
 * starts without a fault for each page that it reads. What a guest writes to is its own copy, or goes to its memfd.
 */
static bool map_segment(struct guest *guest, const struct segment *segment, const uint8_t *file) {
  const struct guest_address start = {page_down(segment->start.value)};
  const uint64_t size = page_up(segment->start.value + segment->memory_size) - start.value;
  const bool runs_here = guest->runs_here;
  if (!(segment->writable ? layout_map_writable(guest, start, size)
                          : layout_map_private(start, size, PROT_READ | PROT_WRITE)))
    return false;
  memcpy(host_pointer(segment->start), file + segment->file_offset, segment->file_size);
  if (segment->writable) return true;
  if (segment->executable) __builtin___clear_cache(host_pointer(start), (char *)host_pointer(start) + size);
  return mprotect(host_pointer(start), size, PROT_READ | (segment->executable && runs_here ? PROT_EXEC : 0)) == 0;
}

/* A fixed size for good: nobody can shrink the file under a mapping of it. */
static bool size_memfd(int fd, uint64_t size) {
  return ftruncate(fd, (off_t)size) == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0;
}

static bool map_shared_pages(struct guest *guest) {
  const uint64_t input_size = guest->input_pages + KERB_PAGE;
  if (!size_memfd(guest->input_fd, input_size) || !size_memfd(guest->output_fd, guest->output_pages + KERB_PAGE))
    return false;
  guest->input = mmap(NULL, input_size, PROT_READ | PROT_WRITE, MAP_SHARED, guest->input_fd, 0);
  if (guest->input == MAP_FAILED) return false;
  guest->info = (struct kerb_info *)(guest->input + guest->input_pages);
  return map_at((struct guest_address){KERB_INPUT}, guest->input_pages, PROT_READ, MAP_SHARED, guest->input_fd, 0) &&
         map_at((struct guest_address){KERB_INFO}, KERB_PAGE, PROT_READ, MAP_SHARED, guest->input_fd,
                guest->input_pages) &&
         map_at((struct guest_address){KERB_OUTPUT}, guest->output_pages, PROT_READ | PROT_WRITE, MAP_SHARED,
                guest->output_fd, 0) &&
         map_at((struct guest_address){KERB_MAILBOX}, KERB_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, guest->output_fd,
                guest->output_pages);
}

bool layout_seal_memory(struct guest *guest) {
  if (!size_memfd(guest->memory_fd, guest->memory_size)) return false;
  guest->memory = mmap(NULL, guest->memory_size, PROT_READ | PROT_WRITE, MAP_SHARED, guest->memory_fd, 0);
  /* No business of a guest, whose process lets go of it anyway. */
  return guest->memory != MAP_FAILED && madvise(guest->memory, guest->memory_size, MADV_DONTFORK) == 0;
}

bool layout_map(struct guest *guest, const uint8_t *file, char reason[REASON_SIZE]) {
  const struct image *image = &guest->image;
  const long page = sysconf(_SC_PAGESIZE);
  if (page != KERB_PAGE) {
    snprintf(reason, REASON_SIZE, "this kernel has pages of %ld bytes; a unikernel needs one with pages of %d", page, KERB_PAGE);
    return false;
  }
  guest->input_pages = page_up(image->manifest.max_input);
  guest->output_pages = page_up(image->manifest.max_output);
  bool mapped = true;
  for (unsigned i = 0; mapped && i < image->segment_count; i++) mapped = map_segment(guest, &image->segments[i], file);
  const uint64_t below = below_thread_pointer(image->tls_size), above = above_thread_pointer(image->tls_size);
  mapped = mapped && layout_map_writable(guest, image->heap, image->heap_size) &&
           layout_map_writable(guest, (struct guest_address){KERB_STACK_START}, KERB_STACK_SIZE) &&
           layout_map_writable(guest, (struct guest_address){KERB_THREAD_POINTER - below}, below + above) &&
           map_shared_pages(guest);
  if (!mapped) snprintf(reason, REASON_SIZE, "cannot map the guest's memory: %s", strerror(errno));
  return mapped;
}

uint64_t layout_writable(const struct guest *guest) {
  const struct image *image = &guest->image;
  uint64_t size = image->heap_size + KERB_STACK_SIZE + below_thread_pointer(image->tls_size) +
                  above_thread_pointer(image->tls_size);
  for (unsigned i = 0; i < image->segment_count; i++) {
    const struct segment *segment = &image->segments[i];
    if (segment->writable) size += page_up(segment->start.value + segment->memory_size) - page_down(segment->start.value);
  }
  return size;
}

void layout_begin(struct guest *guest, uint32_t isolation, uint64_t input_size) {
  struct timespec now;
  /* Asked of the kernel directly: the vDSO would read the time-stamp counter, which is switched off here. */
  syscall(SYS_clock_gettime, CLOCK_REALTIME_COARSE, &now);
  *guest->info = (struct kerb_info){
      .abi_version = KERB_ABI_VERSION,
      .isolation = isolation,
      .heap = guest->image.heap.value,
      .heap_size = guest->image.heap_size,
      .input = KERB_INPUT,
      .input_size = input_size,
      .output = KERB_OUTPUT,
      .output_capacity = guest->image.manifest.max_output,
      .time_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000,
  };
  syscall(SYS_getrandom, guest->info->seed, sizeof guest->info->seed, 0);
}

bool layout_punch(int fd, uint64_t start, uint64_t size) {
  return size == 0 || fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)start, (off_t)size) == 0;
}

/* Each call has a process of its own, which has to map all that it uses anew. */
static bool forks(const struct guest *guest) { return guest->runs_here && guest->memory_fd < 0; }

/*
 * Taking pages away costs as much as the call has touched, needs no trust in any length, and gives the memory back while the
 * tender waits. But each page that is there again for the next call saves it some microseconds, of which a mebibyte has 256. So
 * pages are cleared and kept, as many as recent calls have used, which large calls raise at once and small ones lower by an
 * eighth of the difference each. A guest that outlives its calls finds them mapped. The process of one call maps
 * all that is kept while it waits for the call (layout_premap). There what is kept has a limit, because a guest that writes
 * to the last byte of its output would have all of it filled each time. The input has one, because what is kept of it stays.
 */
static uint64_t lower(uint64_t wanted, uint64_t used) {
  if (used >= wanted) return used;
  return page_up(wanted - (wanted - used + 7) / 8);
}

static uint64_t input_kept(const struct guest *guest) {
  const uint64_t least = forks(guest) || guest->input_wanted > KEPT_MIN ? guest->input_wanted : KEPT_MIN;
  const uint64_t kept = least < INPUT_KEPT_MAX ? least : INPUT_KEPT_MAX;
  return kept < guest->input_pages ? kept : guest->input_pages;
}

static uint64_t output_kept(const struct guest *guest) {
  uint64_t kept = guest->output_wanted;
  if (forks(guest) && kept > PREMAPPED_MAX) kept = PREMAPPED_MAX;
  if (!forks(guest) && kept < KEPT_MIN) kept = KEPT_MIN;
  return kept < guest->output_pages ? kept : guest->output_pages;
}

/*
 * A read maps the pages around it, too, where they are in the file, and maps them for writing where that is allowed. Not
 * enough where the processor leaves it to the kernel to note what is written to.
 */
void layout_premap(const struct guest *guest) {
  volatile uint8_t *input = host_pointer((struct guest_address){KERB_INPUT});
  volatile uint8_t *output = host_pointer((struct guest_address){KERB_OUTPUT});
  for (uint64_t at = 0, end = input_kept(guest); at < end; at += KERB_PAGE) (void)input[at];
  for (uint64_t at = 0, end = output_kept(guest); at < end; at += KERB_PAGE) {
    (void)output[at];
    if (MACHINE_WRITES_FAULT) output[at] = 0;
  }
}

uint64_t layout_output_held(const struct guest *guest) {
  struct stat output = {0};
  fstat(guest->output_fd, &output);
  return (uint64_t)output.st_blocks * 512;
}

/* Pages from `used` on are zero, whatever happened to the call: nobody but the broker writes to the input. */
bool layout_scrub_input(struct guest *guest, uint64_t input_size) {
  const uint64_t used = page_up(input_size), before = input_kept(guest);
  guest->input_wanted = lower(guest->input_wanted, used);
  const uint64_t kept = input_kept(guest);
  memset(guest->input, 0, used < kept ? used : kept);
  if (used <= kept && kept >= before) return true;
  return layout_punch(guest->input_fd, kept, guest->input_pages - kept);
}

/* Clears what is not zero of the first `size` bytes, and sets `used` to where that ends. The file knows where it has pages. */
static bool clear(int fd, uint8_t *view, uint64_t size, uint64_t *used) {
  *used = 0;
  for (uint64_t at = 0; at < size;) {
    const off_t start = lseek(fd, (off_t)at, SEEK_DATA);
    if (start < 0) return errno == ENXIO; /* no more of it */
    if ((uint64_t)start >= size) return true;
    const off_t hole = lseek(fd, start, SEEK_HOLE);
    if (hole < 0) return false;
    const uint64_t end = (uint64_t)hole < size ? (uint64_t)hole : size;
    for (at = (uint64_t)start; at < end; at += KERB_PAGE) {
      if (page_is_zero(view + at)) continue;
      memset(view + at, 0, KERB_PAGE);
      *used = at + KERB_PAGE;
    }
  }
  return true;
}

bool layout_scrub(struct guest *guest) {
  uint64_t used;
  memset(guest->info, 0, KERB_PAGE);
  /* In a virtual machine the mailbox is in nobody's reach. */
  if (guest->runs_here) memset(host_pointer((struct guest_address){KERB_MAILBOX}), 0, KERB_PAGE);
  /* What is not kept in any case is taken away and not cleared first. */
  if (forks(guest) && guest->output_pages > PREMAPPED_MAX &&
      !layout_punch(guest->output_fd, PREMAPPED_MAX, guest->output_pages - PREMAPPED_MAX))
    return false;
  if (!clear(guest->output_fd, layout_memory((struct guest_address){KERB_OUTPUT}), guest->output_pages, &used)) return false;
  guest->output_wanted = lower(guest->output_wanted, used);
  const uint64_t kept = output_kept(guest);
  return layout_punch(guest->output_fd, kept, guest->output_pages - kept);
}

bool layout_rest(struct guest *guest) {
  guest->output_wanted = 0;
  const uint64_t kept = output_kept(guest);
  return layout_punch(guest->output_fd, kept, guest->output_pages - kept);
}

uint8_t *layout_memory(struct guest_address start) { return host_pointer(start); }

const uint8_t *layout_output(void) { return host_pointer((struct guest_address){KERB_OUTPUT}); }

const struct kerb_mailbox *layout_mailbox(void) { return host_pointer((struct guest_address){KERB_MAILBOX}); }
