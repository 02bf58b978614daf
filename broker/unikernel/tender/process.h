/* What both ways of isolation `process` share: the fork up to the gate, the log, the end. */
#ifndef KERBSIDE_TENDER_PROCESS_H
#define KERBSIDE_TENDER_PROCESS_H

#include <signal.h>

#include "gate.h"
#include "isolation.h"

/* A moment, but on a machine that gives it no processor; the broker looks at that, and is less patient. */
#define SELF_TEST_NS 60000000000ull

/* A fork of this process. */
struct process {
  pid_t pid;
  int pidfd; /* -1: there is none */
};

/* Not the vDSO: see layout_begin. */
uint64_t process_clock_ns(clockid_t clock);

/* Once, before the second filter: the gate, and what a process shares with this one until it unmaps it there. */
bool process_prepare(struct guest *guest, char reason[REASON_SIZE]);

/*
 * Makes a process, which lets go of all but the guest and goes through the gate. `first` is what it does before that: only
 * system calls; false ends it. With errno where there is none.
 */
bool process_fork(const struct guest *guest, enum gate_way way, bool (*first)(const struct guest *guest), struct process *process);

/*
 * A run of this long gets less of a processor from then on when others want it too: the broker's messages, and short runs. What
 * is short keeps its full part, or a broker that is busy with one tenant's messages would stop the others' runs.
 */
#define KERB_LONG_RUN_NS 20000000
#define KERB_LONG_NICENESS 10
void process_demote(const struct process *process, uint64_t used, bool *demoted);

/* Ends it, ahead of others that wait for a processor. Its end is yet to be waited for. */
bool process_kill(const struct process *process);

/* Empties the pipe of the log to its end, and keeps of it what there is room for. */
size_t process_read_log(char *to, size_t room);

void process_broken(struct ending *ending, const char *what);

/* Why the self-test failed, with what the gate has said. */
void process_refused(const struct ending *ending, char reason[REASON_SIZE]);

/*
 * Whether a process may be kept here, and put back after each call (process_kept_x86_64.c). `way`: in words, with the reason
 * where not. Tried by doing, after the first filter.
 */
bool process_may_be_kept(char way[REASON_SIZE]);

#endif
