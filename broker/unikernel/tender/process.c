/*
 * Isolation `process`. This process, which has run nothing of the image, is the pattern; each call is a fork of it that
 * lets go of all that is not the guest, installs the guest's seccomp filter and jumps to the entry point (see
 * gate.h). Data, heap and stack are private copies, so a call starts clean whatever the one before it did.
 *
 * The fork for the next call is made right after the last one has been answered and waits inside the gate, so that a
 * caller does not wait for it. It waits in the one system call that its filter still allows: a write to the log, whose
 * pipe this process keeps full and blocking until the call begins.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gate.h"
#include "isolation.h"
#include "process_exit.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

/* Shared with the process that waits in the gate until it unmaps it there, before the guest runs: no guest can write to it. */
struct before_gate {
  uint32_t death_lock;  /* see die_first */
  uint64_t faults;      /* page faults of the process so far */
  uint64_t output_held; /* layout_output_held */
};

static struct before_gate *before_gate;
/* A moment, but on a machine that gives it no processor; the broker looks at that, and is less patient. */
#define SELF_TEST_NS 60000000000ull

static pid_t tender_pid;
static int next_pidfd = -1; /* the process that waits in the gate; -1 when there is none */
static pid_t next_pid;
static uint64_t gate_faults; /* page faults of passing the gate and running nothing of the guest */

static uint64_t now_ns(void) {
  struct timespec now;
  syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now); /* not the vDSO: see layout_begin */
  return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/*
 * A process dies in its own time on a processor, for which it may have to wait long on a busy machine; it has run its last
 * instruction, so it may have that time at once. Where this process may not say so (confine.c), there is a second way that
 * takes it through the first part of dying: who holds a lock that others wait for with priority inheritance runs with the
 * priority of who waits (futex(2), FUTEX_LOCK_PI), a lock is held by whom it names, and it passes on when its holder ends.
 * The page is shared, because only such a lock may have a holder in another process; the guest does not have it any more.
 */
static void die_first(void) {
  const struct sched_param lowest = {.sched_priority = 1};
  if (syscall(SYS_sched_setscheduler, next_pid, SCHED_FIFO, &lowest) == 0) return;
  before_gate->death_lock = (uint32_t)next_pid;
  syscall(SYS_futex, &before_gate->death_lock, FUTEX_LOCK_PI, 0, NULL, NULL, 0);
}

static bool prepare(struct guest *guest, char reason[REASON_SIZE]) {
  tender_pid = getpid();
  before_gate = mmap(NULL, KERB_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (before_gate != MAP_FAILED) return gate_set_up(guest->image.entry.value, reason);
  snprintf(reason, REASON_SIZE, "cannot set up isolation `process`: %s", strerror(errno));
  return false;
}

/* Maps what the call will use while nobody waits for it, and notes what that has cost: it is not the guest's. */
static bool premap(const struct guest *guest) {
  struct rusage usage;
  layout_premap(guest);
  before_gate->output_held = layout_output_held(guest);
  if (syscall(SYS_getrusage, RUSAGE_SELF, &usage) != 0) return false;
  before_gate->faults = (uint64_t)usage.ru_minflt;
  return true;
}

/* The new process up to the gate. Only system calls: nothing here may return. */
static __attribute__((noreturn)) void become_guest(const struct guest *guest, bool self_test) {
  const struct rlimit none = {0, 0};
  /* A tender that dies takes its call along; one that died before this line is seen by the new parent. */
  if (syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL) == 0 && syscall(SYS_getppid) == tender_pid && premap(guest) &&
      syscall(SYS_close_range, KERB_LOG_FD + 1, ~0u, 0) == 0 &&
      syscall(SYS_prlimit64, 0, RLIMIT_NPROC, &none, NULL) == 0)
    ((void (*)(uint32_t self_test))(uintptr_t)KERB_GATE)(self_test);
  for (;;) syscall(SYS_exit_group, KERB_EXIT_GATE);
}

/*
 * Empties the pipe of the log to its end, and keeps what a call may leave there. The gate's own byte comes first; a guest that
 * was killed at the gate has left nothing.
 */
static size_t drain_log(char kept[KERB_MAX_LOG]) {
  size_t size = 0;
  char gate;
  if (read(LOG_READ_FD, &gate, 1) != 1) return 0;
  char rest[512];
  for (;;) {
    const size_t room = KERB_MAX_LOG - size;
    const ssize_t got = room > 0 ? read(LOG_READ_FD, kept + size, room) : read(LOG_READ_FD, rest, sizeof rest);
    if (got <= 0) return size;
    if (room > 0) size += (size_t)got;
  }
}

/* Both ends of the pipe have flags of their own; the guest's end decides whether the gate waits or the log drops. */
static bool block_log(bool block) { return fcntl(KERB_LOG_FD, F_SETFL, block ? O_WRONLY : O_WRONLY | O_NONBLOCK) == 0; }

static void tender_broken(struct ending *ending, const char *what) {
  ending->kind = ENDING_TENDER_BROKEN;
  snprintf(ending->reason, sizeof ending->reason, "%s: %s", what, strerror(errno));
}

/* Waits for the end of the process, at the latest until the budget has run out. */
static void watch(int pidfd, uint64_t started, uint64_t budget_ns, struct ending *ending, uint64_t *faults) {
  struct pollfd watched[2] = {{.fd = pidfd, .events = POLLIN}, {.fd = KERB_SOCKET_FD, .events = POLLIN | POLLRDHUP}};
  bool killed = false;
  for (;;) {
    const uint64_t used = now_ns() - started;
    const uint64_t left = used < budget_ns ? budget_ns - used : 0;
    const struct timespec timeout = {.tv_sec = (time_t)(left / 1000000000), .tv_nsec = (long)(left % 1000000000)};
    if (ppoll(watched, 2, killed ? NULL : &timeout, NULL) < 0 && errno != EINTR) return tender_broken(ending, "ppoll");
    if (watched[0].revents != 0) break;
    if (killed) continue;
    if (watched[1].revents != 0) { /* the broker is gone, or it speaks out of turn: either way the call has no taker */
      ending->kind = ENDING_BROKER_GONE;
    } else if (left > 0) {
      continue;
    } else {
      ending->kind = ENDING_DEADLINE;
    }
    killed = true;
    watched[1].fd = -1;
    if (syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) != 0) return tender_broken(ending, "pidfd_send_signal");
    die_first();
  }
  siginfo_t exit = {0};
  struct rusage usage = {0};
  if (syscall(SYS_waitid, P_PIDFD, pidfd, &exit, WEXITED, &usage) != 0) return tender_broken(ending, "waitid");
  ending->run_ns = now_ns() - started;
  ending->cpu_ns = (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000 +
                   (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000;
  *faults = (uint64_t)usage.ru_minflt;
  /* One that ended in the instant before the kill was in time. */
  const bool in_time = exit.si_code == CLD_EXITED;
  if (!killed || (in_time && ending->kind == ENDING_DEADLINE)) read_exit(&exit, ending);
}

static bool fork_guest(const struct guest *guest, bool self_test, char reason[REASON_SIZE]) {
  static const char page[KERB_PAGE];
  if (next_pidfd >= 0) return true;
  before_gate->faults = before_gate->output_held = 0;
  if (write(KERB_LOG_FD, page, sizeof page) == sizeof page && block_log(true)) {
    const long pid = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid == 0) become_guest(guest, self_test);
    /* Not CLONE_PIDFD, which qemu-user does not know. Nobody but us can reap the process: the number stays its own. */
    next_pid = (pid_t)pid;
    if (pid > 0 && (next_pidfd = (int)syscall(SYS_pidfd_open, pid, 0)) >= 0) return true;
  }
  snprintf(reason, REASON_SIZE, "cannot start a process for the next call: %s", strerror(errno));
  return false;
}

static bool make_ready(struct guest *guest, char reason[REASON_SIZE]) {
  return fork_guest(guest, false, reason);
}

/* Output was given back that the process in the gate has found there. */
static bool rest(struct guest *guest) {
  before_gate->output_held = layout_output_held(guest);
  return true;
}

/*
 * Lets the process in the gate go. Takes out of the log exactly what fork_guest put in: a guest on another core may
 * already be writing, and one that writes without end must neither keep us here nor lose its first lines.
 */
static bool open_gate(void) {
  char filler[KERB_PAGE];
  if (!block_log(false)) return false;
  for (size_t taken = 0; taken < sizeof filler;) {
    const ssize_t got = read(LOG_READ_FD, filler, sizeof filler - taken);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    taken += (size_t)got;
  }
  return true;
}

/*
 * See struct ending. No huge pages here (confine.c), so a fault is a page. The gate's own are known, and so are those before it;
 * of the gate's pages two are the guest's: the first of the stack, and that of the thread pointer. Output that was not there
 * before has cost a fault for each page; all that was there is mapped.
 */
static uint64_t memory_used(const struct guest *guest, uint64_t faults) {
  const uint64_t held = layout_output_held(guest), before = before_gate->output_held;
  const uint64_t others = gate_faults + (held > before ? (held - before) / KERB_PAGE : 0);
  const uint64_t used = (faults > others ? faults - others + 2 : 2) * KERB_PAGE, most = layout_writable(guest);
  return used < most ? used : most;
}

static void run(struct guest *guest, uint64_t budget_ns, struct ending *ending) {
  memset(ending, 0, offsetof(struct ending, log));
  const uint64_t started = now_ns();
  if (!open_gate()) return tender_broken(ending, "the pipe of the log");
  uint64_t faults = 0;
  watch(next_pidfd, started, budget_ns, ending, &faults);
  faults -= faults < before_gate->faults ? faults : before_gate->faults;
  if (gate_faults == 0) gate_faults = faults; /* the self-test comes first */
  ending->memory = memory_used(guest, faults);
  close(next_pidfd);
  next_pidfd = -1;
  ending->log_size = drain_log(ending->log);
}

static bool self_test(struct guest *guest, char reason[REASON_SIZE]) {
  static struct ending ending;
  if (!fork_guest(guest, true, reason)) return false;
  run(guest, SELF_TEST_NS, &ending);
  if (ending.kind == ENDING_DONE) return true;
  if (ending.kind == ENDING_TENDER_BROKEN)
    memcpy(reason, ending.reason, REASON_SIZE);
  else if (ending.kind == ENDING_FAULT && ending.signal == 0 && ending.status >= KERB_EXIT_GATE)
    snprintf(reason, REASON_SIZE, "this kernel refused step %u of letting go of the tender's memory (gate.h)%s",
             ending.status - KERB_EXIT_GATE,
             ending.status - KERB_EXIT_GATE == 2 ? "; one with CONFIG_MSEAL_SYSTEM_MAPPINGS does: isolation vm is left" : "");
  else
    snprintf(reason, REASON_SIZE, "the self-test of isolation `process` ended with signal %u", ending.signal);
  return false;
}

const struct isolation isolation_process = {
    .id = KERB_ISOLATION_PROCESS,
    .prepare = prepare,
    .self_test = self_test,
    .make_ready = make_ready,
    .run = run,
    .rest = rest,
};
