/* Floating point, musl's libm, and AVX2 where the processor has it. */
#include <immintrin.h>
#include <math.h>

#include "guest.h"

GUEST("float");

__attribute__((target("avx2"))) static int sum_avx2(const int *values) {
  __m256i sum = _mm256_setzero_si256();
  for (int i = 0; i < 64; i += 8)
    sum = _mm256_add_epi32(sum, _mm256_mullo_epi32(_mm256_loadu_si256((const __m256i *)(values + i)), _mm256_set1_epi32(3)));
  int parts[8], total = 0;
  _mm256_storeu_si256((__m256i *)parts, sum);
  for (int i = 0; i < 8; i++) total += parts[i];
  return total;
}

TASK {
  int values[64];
  for (int i = 0; i < 64; i++) values[i] = i;
  const int avx2 = __builtin_cpu_supports("avx2") ? sum_avx2(values) : -1;
  double x = 2;
  OPAQUE(x);
  long double y = 3;
  ANSWER("%.15g %.15g %.3Lf %d", sqrt(x), pow(x, 0.1) + sin(x), y / 7, avx2);
  return 0;
}
