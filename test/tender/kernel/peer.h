/*
 * For the first and only program of an emulated machine: speaks to a tender as a broker does, and counts checks. One line for
 * each of them; the last one counts.
 */
#ifndef KERBSIDE_TEST_PEER_H
#define KERBSIDE_TEST_PEER_H

#include <kerbside/frames.h>

#define PEER_INPUT_MAX 0x800000

/* How the last call ended. */
extern const struct kerb_outcome_frame *const outcome;
/* As the last tender says. */
extern int counter_readable;

void check(int good, const char *what);
unsigned checks_failed(void);

/* Another tender, in the place of the one before: its last frame. Prints how it is confined. */
int start(const char *program, const char *image, const char *isolation);
/* The isolation of the tender that was started, and how it is confined. */
uint32_t isolation_of(void);
const char *confinement_of(void);

/* At most PEER_INPUT_MAX bytes. */
void call(const void *input, size_t size, uint64_t budget_ms);
const char *output(void);
const char *log_of(void);
int killed_by(int signal, int code);

/* One call of the leak guest. */
void leak_call(char what, uint64_t pattern, uint64_t budget_ms);
/* Of so many pairs of calls, that fill all there is and look for it: how many found something, or looked at less than `least`. */
unsigned leaks(int count, const char *ways, uint64_t budget_ms, uint64_t least);

/* Makes the root one that a tender can leave; mounts /proc. */
void set_up_root(void);
/* Prints the counts, and ends the machine. */
void finish(void) __attribute__((noreturn));

#endif
