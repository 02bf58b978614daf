/* Three times the sum of 64 numbers, with Advanced SIMD, which every arm64 has. */
#include <arm_neon.h>

static int sum_by_vectors(const int *values) {
  int32x4_t sum = vdupq_n_s32(0);
  for (int i = 0; i < 64; i += 4) sum = vmlaq_n_s32(sum, vld1q_s32(values + i), 3);
  return vaddvq_s32(sum);
}
