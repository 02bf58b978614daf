/*
 * Isolation `process`. The tender, which has run nothing of the image, is the pattern; a guest is a fork of it that lets go
 * of all that is not the guest, installs the guest's seccomp filter and jumps to the entry point (see gate.h). Either each
 * call has such a fork (process_forked.c), or one is kept and put back after each call (process_kept_x86_64.c).
 */
#define _GNU_SOURCE
#include "process.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static uint32_t *death_lock; /* see die_first; shared with the process until it unmaps it in the gate */
static pid_t tender_pid;

uint64_t process_clock_ns(clockid_t clock) {
  struct timespec now;
  syscall(SYS_clock_gettime, clock, &now);
  return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

bool process_prepare(struct guest *guest, char reason[REASON_SIZE]) {
  tender_pid = getpid();
  death_lock = mmap(NULL, KERB_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (death_lock != MAP_FAILED) return gate_set_up(guest, reason);
  snprintf(reason, REASON_SIZE, "cannot set up isolation `process`: %s", strerror(errno));
  return false;
}

/* The new process up to the gate. Only system calls: nothing here may return. */
static __attribute__((noreturn)) void become_guest(const struct guest *guest, enum gate_way way,
                                                   bool (*first)(const struct guest *guest)) {
  const struct rlimit none = {0, 0};
  /* A tender that dies takes its call along; one that died before this line is seen by the new parent. */
  if (syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL) == 0 && syscall(SYS_getppid) == tender_pid && first(guest) &&
      syscall(SYS_close_range, KERB_LOG_FD + 1, ~0u, 0) == 0 &&
      syscall(SYS_prlimit64, 0, RLIMIT_NPROC, &none, NULL) == 0)
    ((void (*)(uint32_t way))(uintptr_t)KERB_GATE)(way);
  for (;;) syscall(SYS_exit_group, KERB_EXIT_GATE);
}

bool process_fork(const struct guest *guest, enum gate_way way, bool (*first)(const struct guest *guest), struct process *process) {
  const long pid = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
  if (pid == 0) become_guest(guest, way, first);
  /* Not CLONE_PIDFD, which qemu-user does not know. Nobody but us can reap the process: the number stays its own. */
  process->pid = (pid_t)pid;
  return pid > 0 && (process->pidfd = (int)syscall(SYS_pidfd_open, pid, 0)) >= 0;
}

/*
 * A process dies in its own time on a processor, for which it may have to wait long on a busy machine; it has run its last
 * instruction, so it may have that time at once. Where this process may not say so (confine.c), there is a second way that
 * takes it through the first part of dying: who holds a lock that others wait for with priority inheritance runs with the
 * priority of who waits (futex(2), FUTEX_LOCK_PI), a lock is held by whom it names, and it passes on when its holder ends.
 * The page is shared, because only such a lock may have a holder in another process; the guest does not have it any more.
 */
static void die_first(pid_t pid) {
  const struct sched_param lowest = {.sched_priority = 1};
  if (syscall(SYS_sched_setscheduler, pid, SCHED_FIFO, &lowest) == 0) return;
  *death_lock = (uint32_t)pid;
  syscall(SYS_futex, death_lock, FUTEX_LOCK_PI, 0, NULL, NULL, 0);
}

void process_demote(const struct process *process, uint64_t used, bool *demoted) {
  if (*demoted || used < KERB_LONG_RUN_NS) return;
  *demoted = true;
  syscall(SYS_setpriority, PRIO_PROCESS, process->pid, KERB_LONG_NICENESS);
}

bool process_kill(const struct process *process) {
  if (syscall(SYS_pidfd_send_signal, process->pidfd, SIGKILL, NULL, 0) != 0) return false;
  die_first(process->pid);
  return true;
}

size_t process_read_log(char *to, size_t room) {
  size_t size = 0;
  char rest[512];
  for (;;) {
    const ssize_t got = size < room ? read(LOG_READ_FD, to + size, room - size) : read(LOG_READ_FD, rest, sizeof rest);
    if (got <= 0) return size;
    if (size < room) size += (size_t)got;
  }
}

void process_broken(struct ending *ending, const char *what) {
  ending->kind = ENDING_TENDER_BROKEN;
  snprintf(ending->reason, sizeof ending->reason, "%s: %s", what, strerror(errno));
}

void process_refused(const struct ending *ending, char reason[REASON_SIZE]) {
  if (ending->kind == ENDING_TENDER_BROKEN)
    memcpy(reason, ending->reason, REASON_SIZE);
  else if (ending->kind == ENDING_FAULT && ending->signal == 0 && ending->status >= KERB_EXIT_GATE)
    snprintf(reason, REASON_SIZE, "this kernel refused step %u of letting go of the tender's memory (gate.h)%s",
             ending->status - KERB_EXIT_GATE,
             ending->status - KERB_EXIT_GATE == 2 ? "; one with CONFIG_MSEAL_SYSTEM_MAPPINGS does: isolation vm is left" : "");
  else
    snprintf(reason, REASON_SIZE, "the self-test of isolation `process` ended with signal %u", ending->signal);
}
