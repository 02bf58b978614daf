/* Three times the sum of 64 numbers, with AVX2; -1 where the processor has none. */
#include <immintrin.h>

__attribute__((target("avx2"))) static int sum_avx2(const int *values) {
  __m256i sum = _mm256_setzero_si256();
  for (int i = 0; i < 64; i += 8)
    sum = _mm256_add_epi32(sum, _mm256_mullo_epi32(_mm256_loadu_si256((const __m256i *)(values + i)), _mm256_set1_epi32(3)));
  int parts[8], total = 0;
  _mm256_storeu_si256((__m256i *)parts, sum);
  for (int i = 0; i < 8; i++) total += parts[i];
  return total;
}

static int sum_by_vectors(const int *values) { return __builtin_cpu_supports("avx2") ? sum_avx2(values) : -1; }
