/*
 * The bare function: bare-NAME COUNT < input calls the task COUNT times in this process and prints one JSON line with
 * the nanoseconds of one call: {"n":..,"p50":..,"p99":..,"max":..}. The floor that every isolation is measured against.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "native.h"

static int compare(const void *a, const void *b) {
  const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

int main(int argc, char **argv) {
  const long count = argc == 2 ? strtol(argv[1], NULL, 10) : 0;
  if (count < 1 || count > 100000000) {
    fprintf(stderr, "usage: %s COUNT < input\n", argv[0]);
    return 64;
  }
  size_t input_size;
  const uint8_t *input = native_read_input(&input_size);
  const size_t capacity = native_max_output();
  uint8_t *output = calloc(1, capacity + 1);
  uint64_t *times = malloc((size_t)count * sizeof *times);
  if (output == NULL || times == NULL) return 70;
  for (long i = 0; i < count; i++) {
    size_t output_size = 0;
    const uint64_t start = now_ns();
    const int status = kerb_task(input, input_size, output, capacity, &output_size);
    times[i] = now_ns() - start;
    if (status != 0 || output_size > capacity) {
      fprintf(stderr, "%s: the task refused the input with status %d\n", argv[0], status);
      return 1;
    }
  }
  qsort(times, (size_t)count, sizeof *times, compare);
  printf("{\"n\":%ld,\"p50\":%llu,\"p99\":%llu,\"max\":%llu}\n", count, (unsigned long long)times[count / 2],
         (unsigned long long)times[(count * 99) / 100], (unsigned long long)times[count - 1]);
  return 0;
}
