/* What most of the test guests share: a megabyte of memory, one page in and out, and answers as text. */
#ifndef KERBSIDE_TEST_GUEST_H
#define KERBSIDE_TEST_GUEST_H

#include <kerbside/task.h>
#include <stdio.h>
#include <string.h>

#define GUEST(name) KERB_TASK(name, .memory = 1 << 20, .max_input = 4096, .max_output = 4096)

#define TASK                                                                                               \
  int kerb_task(const uint8_t *in __attribute__((unused)), size_t in_size __attribute__((unused)),         \
                uint8_t *out __attribute__((unused)), size_t out_capacity __attribute__((unused)),         \
                size_t *out_size __attribute__((unused)))

/* The answer of a guest: formatted text as its output. */
#define ANSWER(...) (*out_size = (size_t)snprintf((char *)out, out_capacity, __VA_ARGS__))

/* Hides a value from the optimiser. */
#define OPAQUE(value) __asm__ volatile("" : "+r"(value))

#endif
