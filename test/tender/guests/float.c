/* Floating point, musl's libm, and the vector instructions of the processor. */
#include <math.h>

#include "guest.h"

GUEST("float");

#if defined(__x86_64__)
#include "float_x86_64.h"
#elif defined(__aarch64__)
#include "float_aarch64.h"
#endif

TASK {
  int values[64];
  for (int i = 0; i < 64; i++) values[i] = i;
  const int vectors = sum_by_vectors(values);
  double x = 2;
  OPAQUE(x);
  long double y = 3;
  ANSWER("%.15g %.15g %.3Lf %d", sqrt(x), pow(x, 0.1) + sin(x), y / 7, vectors);
  return 0;
}
