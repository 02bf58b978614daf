/*
 * aggregate: what an array of numbers looks like.
 *
 * In:  f64 LE values, at least one, at most 1,048,576 (8 MiB).
 * Out: ten f64 LE: count, mean, sample variance (divided by count - 1; 0 for one value), minimum, maximum, and the
 *      quantiles at 5, 25, 50, 75 and 95 %.
 *
 * A quantile at p is interpolated linearly between the two values around index p * (count - 1) of the sorted array
 * (Hyndman and Fan 1996, type 7: the default of R and NumPy). Mean and variance are summed with compensation (Neumaier
 * 1974). Status 1: no values; 2: the length is no multiple of 8; 3: a value is NaN or infinite; 4: the values are too
 * large to be summed; 5: out of memory.
 */
#include <kerbside/task.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LARGEST (8 << 20)

KERB_TASK("aggregate", .memory = LARGEST + (1 << 20), .max_input = LARGEST, .max_output = 10 * sizeof(double));

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "values are read in the order of the machine");

struct sum {
  double total, lost;
};

static void add(struct sum *sum, double value) {
  const double total = sum->total + value;
  sum->lost += fabs(sum->total) >= fabs(value) ? sum->total - total + value : value - total + sum->total;
  sum->total = total;
}

static double mean_of(const double *values, size_t count) {
  struct sum sum = {0, 0};
  for (size_t i = 0; i < count; i++) add(&sum, values[i]);
  return (sum.total + sum.lost) / (double)count;
}

static double variance_of(const double *values, size_t count, double mean) {
  struct sum squares = {0, 0};
  if (count == 1) return 0;
  for (size_t i = 0; i < count; i++) add(&squares, (values[i] - mean) * (values[i] - mean));
  return (squares.total + squares.lost) / (double)(count - 1);
}

/* The pivot is drawn at random, so that nobody can prepare an input for which the selection is slow. */
static size_t random_below(size_t bound) {
  static uint64_t state;
  if (state == 0) {
    memcpy(&state, kerb_seed(), sizeof state);
    state |= 1;
  }
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (size_t)(state % bound);
}

static void swap(double *a, double *b) {
  const double value = *a;
  *a = *b;
  *b = value;
}

/*
 * Moves the value of rank `rank` to values[rank], smaller ones before it and larger ones after it, in [low, high).
 * Three parts, so that many equal values do not slow it down (Hoare 1961; Dijkstra's Dutch flag).
 */
static double value_of_rank(double *values, size_t low, size_t high, size_t rank) {
  while (high - low > 1) {
    const double pivot = values[low + random_below(high - low)];
    size_t less = low, at = low, more = high;
    while (at < more) {
      if (values[at] < pivot)
        swap(&values[less++], &values[at++]);
      else if (values[at] > pivot)
        swap(&values[at], &values[--more]);
      else
        at++;
    }
    if (rank < less)
      high = less;
    else if (rank >= more)
      low = more;
    else
      break;
  }
  return values[rank];
}

int kerb_task(const uint8_t *in, size_t in_size, uint8_t *out, size_t out_capacity, size_t *out_size) {
  static const double levels[] = {0.05, 0.25, 0.5, 0.75, 0.95};
  double result[10];
  if (in_size == 0) return kerb_refuse(1, "there are no values");
  if (in_size % sizeof(double) != 0)
    return kerb_refuse(2, "%zu bytes came, which is not a multiple of %zu: values are doubles", in_size, sizeof(double));
  const size_t count = in_size / sizeof(double);
  double *values = malloc(in_size);
  if (values == NULL || out_capacity < sizeof result) return kerb_refuse(5, "out of memory");
  memcpy(values, in, in_size);

  double smallest = values[0], largest = values[0];
  for (size_t i = 0; i < count; i++) {
    if (!isfinite(values[i])) return kerb_refuse(3, "value %zu (counted from 0) is NaN or infinite", i);
    if (values[i] < smallest) smallest = values[i];
    if (values[i] > largest) largest = values[i];
  }
  result[0] = (double)count;
  result[1] = mean_of(values, count);
  result[2] = variance_of(values, count, result[1]);
  if (!isfinite(result[1]) || !isfinite(result[2])) return kerb_refuse(4, "the values are too large to be summed");
  result[3] = smallest;
  result[4] = largest;

  size_t done = 0; /* everything before this rank is in its place */
  for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
    const double place = levels[i] * (double)(count - 1);
    const size_t rank = (size_t)place;
    const double lower = value_of_rank(values, done, count, rank);
    const double upper = rank + 1 < count ? value_of_rank(values, rank, count, rank + 1) : lower;
    const double share = place - (double)rank;
    result[5 + i] = lower * (1 - share) + upper * share; /* a difference of the two could overflow */
    done = rank;
  }
  memcpy(out, result, sizeof result);
  *out_size = sizeof result;
  free(values);
  return 0;
}
