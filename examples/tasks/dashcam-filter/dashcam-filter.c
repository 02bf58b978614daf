/*
 * dashcam-filter: marks the edges in the region of a picture where the road is. It does not know what an edge belongs to:
 * a lane marking, a shadow and the bumper in front are all edges.
 *
 * In:  width u32 LE, height u32 LE, then width * height bytes of grey, row by row from the top left.
 * Out: the same header and as many bytes.
 *
 *   1. Smoothed with the 5 x 5 binomial filter (1 4 6 4 1 both ways, sum 256), rounded to nearest.
 *   2. Only the region of the road is kept: the rows from 45 % of the height down, in them a trapezoid from the middle
 *      fifth of the width to the whole of the bottom row. Everything else becomes 0.
 *   3. The threshold follows the contrast of that region, so that edges are found at noon and at night. Contrast is the 99th
 *      less the 1st percentile of the pixels as they came in, over every fourth row of the region from its first: the
 *      smallest value that at least so many percent of them do not exceed (at least one pixel). The threshold is half of
 *      it, and from 12 (below, noise of the camera would count) to 64.
 *   4. Edges: Sobel gradients of the smoothed picture; where gx^2 + gy^2 >= threshold^2 the pixel becomes 255. Every other
 *      pixel becomes half of its smoothed value, so that 255 always means an edge.
 *
 * Beyond its border the picture goes on with its border pixels. All arithmetic is in integers: the result is exact.
 * Status 1: the header is cut off; 2: width or height is 0 or above 4096; 3: the pixels are not width * height bytes;
 * 4: the picture does not fit into memory.
 */
#include <kerbside/task.h>
#include <stdlib.h>
#include <string.h>

#define HEADER 8
#define LARGEST_SIDE 4096
#define LARGEST_PICTURE (HEADER + 1920 * 1200)
#define LOWEST_THRESHOLD 12
#define HIGHEST_THRESHOLD 64
#define CONTRAST_ROWS 4

KERB_TASK("dashcam-filter", .memory = 1 << 20, .max_input = LARGEST_PICTURE, .max_output = LARGEST_PICTURE);

static uint32_t read_u32(const uint8_t *bytes) {
  return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

struct picture {
  const uint8_t *pixels;
  int width, height;
};

static const uint8_t *row_of(const struct picture *picture, int y) {
  if (y < 0) y = 0;
  if (y >= picture->height) y = picture->height - 1;
  return picture->pixels + (size_t)y * (size_t)picture->width;
}

/* One smoothed row, with one more pixel of border on each side: smooth[0] is x = -1. `sums` has room for two on each. */
static void smooth_row(const struct picture *picture, int y, uint16_t *restrict sums, uint8_t *restrict smooth) {
  const int width = picture->width;
  const uint8_t *a = row_of(picture, y - 2), *b = row_of(picture, y - 1), *c = row_of(picture, y),
                *d = row_of(picture, y + 1), *e = row_of(picture, y + 2);
  uint16_t *sum = sums + 2;
  for (int x = 0; x < width; x++) sum[x] = (uint16_t)(a[x] + 4 * b[x] + 6 * c[x] + 4 * d[x] + e[x]);
  sum[-1] = sum[-2] = sum[0];
  sum[width] = sum[width + 1] = sum[width - 1];
  for (int x = 0; x < width; x++)
    smooth[x + 1] = (uint8_t)((sum[x - 2] + 4 * sum[x - 1] + 6 * sum[x] + 4 * sum[x + 1] + sum[x + 2] + 128) >> 8);
  smooth[0] = smooth[1];
  smooth[width + 1] = smooth[width];
}

/* One row of the result from three smoothed ones (each with its border). */
static void mark_row(const uint8_t *restrict above, const uint8_t *restrict here, const uint8_t *restrict below,
                     uint8_t *restrict out, int from, int to, int threshold) {
  for (int x = from; x <= to; x++) {
    const int gx = above[x + 2] + 2 * here[x + 2] + below[x + 2] - above[x] - 2 * here[x] - below[x];
    const int gy = below[x] + 2 * below[x + 1] + below[x + 2] - above[x] - 2 * above[x + 1] - above[x + 2];
    out[x] = gx * gx + gy * gy >= threshold * threshold ? 255 : here[x + 1] >> 1;
  }
}

static int first_row(const struct picture *picture) { return picture->height * 45 / 100; }

/* The first column of the region in row `y`; the last one is as far from the right border. */
static int first_column(const struct picture *picture, int y) {
  const int top = first_row(picture), last = picture->height - 1;
  return last > top ? picture->width * 40 / 100 * (last - y) / (last - top) : 0;
}

/* The smallest value that at least `percent` of the pixels do not exceed. */
static int percentile(const uint32_t counts[256], uint32_t total, uint32_t percent) {
  uint32_t seen = 0;
  for (int value = 0; value < 255; value++) {
    seen += counts[value];
    if (seen > 0 && (uint64_t)seen * 100 >= (uint64_t)total * percent) return value;
  }
  return 255;
}

static int threshold_of(const struct picture *picture) {
  static uint32_t counts[256];
  uint32_t total = 0;
  for (int y = first_row(picture); y < picture->height; y += CONTRAST_ROWS) {
    const uint8_t *row = row_of(picture, y);
    const int left = first_column(picture, y), right = picture->width - 1 - left;
    for (int x = left; x <= right; x++) counts[row[x]]++;
    total += (uint32_t)(right - left + 1);
  }
  const int half = (percentile(counts, total, 99) - percentile(counts, total, 1)) / 2;
  return half < LOWEST_THRESHOLD ? LOWEST_THRESHOLD : half > HIGHEST_THRESHOLD ? HIGHEST_THRESHOLD : half;
}

static void filter(const struct picture *picture, uint16_t *sums, uint8_t *smooth[3], uint8_t *out) {
  const int width = picture->width;
  const int top = first_row(picture), last = picture->height - 1;
  const int threshold = threshold_of(picture);
  /* The smoothed picture goes on with its own border rows, as the picture does. */
  smooth_row(picture, top > 0 ? top - 1 : 0, sums, smooth[0]);
  smooth_row(picture, top, sums, smooth[1]);
  for (int y = top; y <= last; y++) {
    smooth_row(picture, y < last ? y + 1 : last, sums, smooth[2]);
    const int left = first_column(picture, y);
    mark_row(smooth[0], smooth[1], smooth[2], out + (size_t)y * (size_t)width, left, width - 1 - left, threshold);
    uint8_t *free_row = smooth[0];
    smooth[0] = smooth[1];
    smooth[1] = smooth[2];
    smooth[2] = free_row;
  }
}

int kerb_task(const uint8_t *in, size_t in_size, uint8_t *out, size_t out_capacity, size_t *out_size) {
  if (in_size < HEADER)
    return kerb_refuse(1, "the header is cut off: width and height take %d bytes, and %zu came", HEADER, in_size);
  const uint32_t width = read_u32(in), height = read_u32(in + 4);
  if (width == 0 || height == 0 || width > LARGEST_SIDE || height > LARGEST_SIDE)
    return kerb_refuse(2, "a picture of %u x %u pixels: width and height must be from 1 to %d", (unsigned)width, (unsigned)height,
                       LARGEST_SIDE);
  if (in_size - HEADER != (size_t)width * height || in_size > out_capacity)
    return kerb_refuse(3, "%zu bytes of pixels came, and %u x %u pixels of grey are %zu bytes", in_size - HEADER, (unsigned)width,
                       (unsigned)height, (size_t)width * height);

  const struct picture picture = {in + HEADER, (int)width, (int)height};
  uint16_t *sums = malloc((width + 4) * sizeof *sums);
  uint8_t *rows = malloc(3 * ((size_t)width + 2));
  if (sums == NULL || rows == NULL) return kerb_refuse(4, "a picture of %u pixels across does not fit into memory", (unsigned)width);
  uint8_t *smooth[3] = {rows, rows + width + 2, rows + 2 * (width + 2)};

  memcpy(out, in, HEADER);
  filter(&picture, sums, smooth, out + HEADER); /* all else in `out` is zero already */
  *out_size = in_size;
  free(rows);
  free(sums);
  return 0;
}
