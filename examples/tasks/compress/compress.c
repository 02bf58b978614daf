/*
 * compress: bytes in, gzip out (RFC 1952), by Debian's zlib.
 *
 * In:  any bytes, at most 4 MiB.
 * Out: one gzip member without name and time, so that the same bytes always give the same result. Status 5: out of
 *      memory.
 */
#include <kerbside/task.h>
#include <zlib.h>

#define LARGEST (4 << 20)
/* What zlib adds at worst, to bytes that cannot be made smaller: 5 for each 16 KiB, and the gzip header and trailer. */
#define WORST (LARGEST + LARGEST / 2048 + 64)
#define GZIP_WINDOW (15 + 16)

KERB_TASK("compress", .memory = 1 << 20, .max_input = LARGEST, .max_output = WORST);

int kerb_task(const uint8_t *in, size_t in_size, uint8_t *out, size_t out_capacity, size_t *out_size) {
  z_stream stream = {0};
  if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, GZIP_WINDOW, MAX_MEM_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK)
    return kerb_refuse(5, "out of memory");
  stream.next_in = (Bytef *)in; /* zlib reads it only; its old interface cannot say so */
  stream.avail_in = (uInt)in_size;
  stream.next_out = out;
  stream.avail_out = (uInt)out_capacity;
  if (deflate(&stream, Z_FINISH) != Z_STREAM_END) kerb_abort(1); /* WORST is wrong: not the caller's fault */
  *out_size = stream.total_out;
  return 0;
}
