/* A task as an ordinary process, for the benchmark's peers: what bare.c and spawn.c share. */
#ifndef KERBSIDE_NATIVE_H
#define KERBSIDE_NATIVE_H

#include <kerbside/task.h>

/* The task's own manifest, as KERB_TASK declared it. */
uint64_t native_max_output(void);
/* Standard input, whole. Ends the program when it cannot be read. */
uint8_t *native_read_input(size_t *size);

#endif
