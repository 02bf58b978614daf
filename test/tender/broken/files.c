#include <fcntl.h>
#include <kerbside/task.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

KERB_TASK("files", .memory = 1 << 20, .max_input = 16, .max_output = 16);

int written_by_nobody(void);

int kerb_task(const uint8_t *in, size_t in_size, uint8_t *out, size_t out_capacity, size_t *out_size) {
  (void)in_size, (void)out_size;
  FILE *file = fopen("/etc/hostname", "r");
  if (file == NULL || fgets((char *)out, (int)out_capacity, file) == NULL) return dprintf(2, "no line");
  const int fd = open("/etc/hostname", O_RDONLY);
  if (read(fd, out, out_capacity) < 0 || write(1, in, 1) < 0) return getchar();
  if (fread(out, 1, out_capacity, file) == 0) return fscanf(file, "%*d");
  return (int)time(NULL) + written_by_nobody();
}
