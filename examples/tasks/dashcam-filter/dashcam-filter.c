/*
 * dashcam-filter: finds the lane markings in a picture of the road.
 *
 * In:  width u32 LE, height u32 LE, then width * height bytes of grey, row by row from the top left.
 * Out: the same header and as many bytes.
 *
 *   1. Smoothed with the 5 x 5 binomial filter (1 4 6 4 1 both ways, sum 256), rounded to nearest.
 *   2. Edges: Sobel gradients of the smoothed picture; where gx^2 + gy^2 >= 64^2 the pixel becomes 255.
 *   3. Every other pixel becomes half of its smoothed value, so that 255 always means an edge.
 *   4. Only the road is kept: the rows from 45 % of the height down, in them a trapezoid from the middle fifth of the
 *      width to the whole of the bottom row. Everything else becomes 0.
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
#define EDGE 64

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
                     uint8_t *restrict out, int from, int to) {
  for (int x = from; x <= to; x++) {
    const int gx = above[x + 2] + 2 * here[x + 2] + below[x + 2] - above[x] - 2 * here[x] - below[x];
    const int gy = below[x] + 2 * below[x + 1] + below[x + 2] - above[x] - 2 * above[x + 1] - above[x + 2];
    out[x] = gx * gx + gy * gy >= EDGE * EDGE ? 255 : here[x + 1] >> 1;
  }
}

static void filter(const struct picture *picture, uint16_t *sums, uint8_t *smooth[3], uint8_t *out) {
  const int width = picture->width, height = picture->height;
  const int top = height * 45 / 100, last = height - 1;
  /* The smoothed picture goes on with its own border rows, as the picture does. */
  smooth_row(picture, top > 0 ? top - 1 : 0, sums, smooth[0]);
  smooth_row(picture, top, sums, smooth[1]);
  for (int y = top; y <= last; y++) {
    smooth_row(picture, y < last ? y + 1 : last, sums, smooth[2]);
    const int left = last > top ? width * 40 / 100 * (last - y) / (last - top) : 0;
    mark_row(smooth[0], smooth[1], smooth[2], out + (size_t)y * (size_t)width, left, width - 1 - left);
    uint8_t *free_row = smooth[0];
    smooth[0] = smooth[1];
    smooth[1] = smooth[2];
    smooth[2] = free_row;
  }
}

int kerb_task(const uint8_t *in, size_t in_size, uint8_t *out, size_t out_capacity, size_t *out_size) {
  if (in_size < HEADER) return 1;
  const uint32_t width = read_u32(in), height = read_u32(in + 4);
  if (width == 0 || height == 0 || width > LARGEST_SIDE || height > LARGEST_SIDE) return 2;
  if (in_size - HEADER != (size_t)width * height || in_size > out_capacity) return 3;

  const struct picture picture = {in + HEADER, (int)width, (int)height};
  uint16_t *sums = malloc((width + 4) * sizeof *sums);
  uint8_t *rows = malloc(3 * ((size_t)width + 2));
  if (sums == NULL || rows == NULL) return 4;
  uint8_t *smooth[3] = {rows, rows + width + 2, rows + 2 * (width + 2)};

  memcpy(out, in, HEADER);
  filter(&picture, sums, smooth, out + HEADER); /* all else in `out` is zero already */
  *out_size = in_size;
  free(rows);
  free(sums);
  return 0;
}
