/*
 * Drives fuzz.c by coverage, with no more than gcc:
 *
 *   fuzz-image CORPUS SEED COUNT [KEEP]
 *
 * Runs every file of the folder CORPUS as it is, the smallest first, then COUNT mutants of them. A mutant that reaches code
 * which nothing before it has reached is cut down as far as it still does so, and mutated further. With a folder KEEP, every
 * input that reached something new is written there: COUNT 0 makes the smaller corpus of a large one. Deterministic for a
 * seed. Prints one line of JSON; what breaks the check is left as crash-SEED, in KEEP or here.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fuzz.h"
#include "image.h"

#define LARGEST_INPUT 0x10000
#define MOST_INPUTS 4096
#define EDGES 0x2000

struct input {
  size_t size;
  uint8_t bytes[LARGEST_INPUT];
};

static struct input *inputs[MOST_INPUTS];
static size_t input_count;
static uint64_t accepted, refused, found;
static const char *keep;
static const char *seed;

/* Edges from block to block of image.c: those of the run under way, and those that any input has reached. */
static uint8_t now[EDGES], known[EDGES];
static uintptr_t last_block;

/* gcc calls it at each block of what it compiles with -fsanitize-coverage=trace-pc. */
void __sanitizer_cov_trace_pc(void);
__attribute__((no_sanitize("address", "undefined"))) void __sanitizer_cov_trace_pc(void) {
  const uintptr_t block = (uintptr_t)__builtin_return_address(0) - (uintptr_t)&image_check;
  now[(block ^ last_block) % EDGES] = 1;
  last_block = block * 7;
}

static uint64_t state;

static uint64_t next_random(void) { /* xorshift64*, Marsaglia 2003 and Vigna 2016 */
  state ^= state >> 12;
  state ^= state << 25;
  state ^= state >> 27;
  return state * 0x2545f4914f6cdd1dull;
}

static uint64_t pick(uint64_t below) { return (next_random() >> 11) % below; }

/* The sanitizers end with an abort, fuzz.c with a trap: either way the input is kept. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "abort_on_error=1"; }
const char *__ubsan_default_options(void);
const char *__ubsan_default_options(void) { return "abort_on_error=1:print_stacktrace=1"; }

static void copy(struct input *to, const struct input *from) {
  to->size = from->size;
  memcpy(to->bytes, from->bytes, from->size);
}

static const struct input *under_test;

static void write_input(const char *name, const struct input *input) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", keep == NULL ? "." : keep, name);
  FILE *file = fopen(path, "wb");
  if (file == NULL || fwrite(input->bytes, 1, input->size, file) != input->size) perror(path);
  if (file != NULL) fclose(file);
}

static void keep_crash(int signal) {
  char name[64];
  snprintf(name, sizeof name, "crash-%s", seed);
  write_input(name, under_test);
  fprintf(stderr, "fuzz-image: signal %d; the input is in %s/%s\n", signal, keep == NULL ? "." : keep, name);
  _exit(1);
}

static void run(const struct input *input) {
  under_test = input;
  memset(now, 0, sizeof now);
  last_block = 0;
  LLVMFuzzerTestOneInput(input->bytes, input->size);
}

/* Has `edges` any that is not in `others`? Eight at a time: each is 0 or 1. */
static bool has_more(const uint8_t *edges, const uint8_t *others) {
  for (size_t i = 0; i < EDGES; i += sizeof(uint64_t)) {
    uint64_t some, other;
    memcpy(&some, edges + i, sizeof some);
    memcpy(&other, others + i, sizeof other);
    if ((some & ~other) != 0) return true;
  }
  return false;
}

/* Cuts off the end, then zeros words, as long as all of the new edges are still reached. */
static void cut_down(struct input *input) {
  static uint8_t wanted[EDGES];
  static struct input smaller;
  for (size_t i = 0; i < EDGES; i++) wanted[i] = now[i] > known[i];
  for (size_t cut = input->size; cut > 0; cut /= 2) {
    for (;;) {
      copy(&smaller, input);
      if (smaller.size < cut) break;
      smaller.size -= cut;
      run(&smaller);
      if (has_more(wanted, now)) break;
      copy(input, &smaller);
    }
  }
  for (size_t at = 0; at + 8 <= input->size; at += 8) {
    copy(&smaller, input);
    memset(smaller.bytes + at, 0, 8);
    if (memcmp(smaller.bytes, input->bytes, input->size) == 0) continue;
    run(&smaller);
    if (!has_more(wanted, now)) copy(input, &smaller);
  }
  run(input);
}

static void add(const struct input *input) {
  if (input_count == MOST_INPUTS || (inputs[input_count] = malloc(sizeof *input)) == NULL) return;
  copy(inputs[input_count++], input);
}

static void remember(const struct input *input, const char *name) {
  for (size_t i = 0; i < EDGES; i++) known[i] |= now[i];
  if (keep != NULL) write_input(name, input);
}

static uint64_t strange_number(void) {
  static const uint64_t numbers[] = {0,          1,          0xff,       0x1000,      0xfff,
                                     0x7fffffff, 0x80000000, 0xffffffff, 0x100000000, 0x7fffffffffffffff,
                                     ~0ull,      ~0xfffull,  0x100000,   0x20000000,  0xfffffffffffff000};
  switch (pick(4)) {
    case 0: return next_random();
    case 1: return pick(64);
    default: return numbers[pick(sizeof numbers / sizeof *numbers)] + pick(16) - 8;
  }
}

static void put(struct input *input, size_t at, const void *bytes, size_t size) {
  if (at + size > LARGEST_INPUT) return;
  if (at > input->size) memset(input->bytes + input->size, 0, at - input->size);
  if (at + size > input->size) input->size = at + size;
  memcpy(input->bytes + at, bytes, size);
}

/* Offsets and lengths that mean something in an image are multiples of four, mostly. */
static size_t some_place(const struct input *input) {
  const size_t at = pick(input->size + 1);
  return pick(4) == 0 ? at : at & ~(size_t)3;
}

static void mutate(struct input *input) {
  for (uint64_t count = 1 + pick(4); count > 0; count--) {
    const struct input *other = inputs[pick(input_count)];
    const size_t at = some_place(input), from = some_place(other);
    const uint64_t number = strange_number();
    switch (pick(8)) {
      case 0: /* cut off */
        input->size = at;
        break;
      case 1: /* a bit */
        if (at < input->size) input->bytes[at] ^= (uint8_t)(1u << pick(8));
        break;
      case 2: { /* a piece of another one, or of itself: notes, names */
        const size_t size = 1 + pick(160);
        if (from + size <= other->size) put(input, at, other->bytes + from, size);
        break;
      }
      case 3: { /* a program header: of another one, in the place of any */
        const size_t slot = 64 + 56 * pick(33), source = 64 + 56 * pick(33);
        if (source + 56 <= other->size && slot <= input->size) put(input, slot, other->bytes + source, 56);
        break;
      }
      case 4: /* how many of them */
        if (input->size > 57) input->bytes[56] = (uint8_t)pick(40);
        break;
      default: {
        const size_t width = (size_t)1 << pick(4);
        if (at + width <= input->size) memcpy(input->bytes + at, &number, width);
      }
    }
  }
}

static int smallest_first(const void *left, const void *right) {
  const struct input *a = *(struct input *const *)left, *b = *(struct input *const *)right;
  if (a->size != b->size) return a->size < b->size ? -1 : 1;
  return memcmp(a->bytes, b->bytes, a->size);
}

static bool read_corpus(const char *folder) {
  DIR *entries = opendir(folder);
  if (entries == NULL) return false;
  for (const struct dirent *entry; (entry = readdir(entries)) != NULL;) {
    static struct input input;
    char path[4096];
    struct stat status;
    snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
    if (stat(path, &status) != 0 || !S_ISREG(status.st_mode)) continue;
    FILE *file = fopen(path, "rb");
    if (file == NULL) return false;
    input.size = fread(input.bytes, 1, sizeof input.bytes, file);
    fclose(file);
    add(&input);
  }
  closedir(entries);
  qsort(inputs, input_count, sizeof *inputs, smallest_first);
  return input_count > 0;
}

static void count_verdict(void) { *(fuzz_accepted ? &accepted : &refused) += 1; }

int main(int count, char **arguments) {
  static struct input mutant;
  if (count != 4 && count != 5) {
    fprintf(stderr, "usage: fuzz-image CORPUS SEED COUNT [KEEP]\n");
    return 64;
  }
  seed = arguments[2];
  keep = count == 5 ? arguments[4] : NULL;
  state = strtoull(seed, NULL, 10) * 2 + 1;
  const uint64_t rounds = strtoull(arguments[3], NULL, 10);
  if (!read_corpus(arguments[1])) {
    fprintf(stderr, "fuzz-image: no corpus in %s\n", arguments[1]);
    return 66;
  }
  signal(SIGABRT, keep_crash);
  signal(SIGILL, keep_crash);
  signal(SIGTRAP, keep_crash);
  const size_t files = input_count;
  char name[64];
  for (size_t i = 0; i < files; i++) {
    run(inputs[i]);
    count_verdict();
    snprintf(name, sizeof name, "kept-%03zu", i);
    if (has_more(now, known)) remember(inputs[i], name);
  }
  time_t told = time(NULL);
  for (uint64_t round = 0; round < rounds; round++) {
    copy(&mutant, inputs[pick(input_count)]);
    mutate(&mutant);
    run(&mutant);
    count_verdict();
    if (has_more(now, known)) {
      cut_down(&mutant);
      add(&mutant);
      snprintf(name, sizeof name, "found-%s-%03llu", seed, (unsigned long long)found++);
      remember(&mutant, name);
    }
    if (round % 1024 == 0 && time(NULL) >= told + 10) {
      told = time(NULL);
      fprintf(stderr, "fuzz-image: %llu of %llu mutants, %llu found something new\n", (unsigned long long)round,
              (unsigned long long)rounds, (unsigned long long)found);
    }
  }
  size_t edges = 0;
  for (size_t i = 0; i < EDGES; i++) edges += known[i];
  printf("{\"files\":%zu,\"accepted\":%llu,\"refused\":%llu,\"found\":%llu,\"edges\":%zu}\n", files,
         (unsigned long long)accepted, (unsigned long long)refused, (unsigned long long)found, edges);
  return 0;
}
