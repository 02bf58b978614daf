/* Debian's static zlib: packs its input, unpacks it again, answers with the packed bytes. */
#include <zlib.h>

#include "guest.h"

KERB_TASK("zlib", .memory = 4 << 20, .max_input = 65536, .max_output = 131072);

TASK {
  static uint8_t again[65536];
  uLongf packed = out_capacity, unpacked = sizeof again;
  if (compress2(out, &packed, in, in_size, 9) != Z_OK) return 1;
  if (uncompress(again, &unpacked, out, packed) != Z_OK) return 2;
  if (unpacked != in_size || memcmp(again, in, in_size) != 0) return 3;
  *out_size = packed;
  return 0;
}
