/* The task as an ordinary program, standard input to standard output: what a container or a spawned process would run. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "native.h"

int main(void) {
  size_t input_size, output_size = 0;
  const uint8_t *input = native_read_input(&input_size);
  const size_t capacity = native_max_output();
  uint8_t *output = calloc(1, capacity + 1);
  if (output == NULL) return 70;
  const int status = kerb_task(input, input_size, output, capacity, &output_size);
  if (status != 0 || output_size > capacity) {
    fprintf(stderr, "the task refused the input with status %d\n", status);
    return 1;
  }
  for (size_t done = 0; done < output_size;) {
    const ssize_t wrote = write(1, output + done, output_size - done);
    if (wrote < 0) return 74;
    done += (size_t)wrote;
  }
  return 0;
}
