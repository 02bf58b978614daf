/*
 * Isolation `process` with a process for each call: where none can be kept (process_kept_x86_64.c). Data, heap and stack are
 * private copies, so a call starts clean whatever the one before it did.
 *
 * The fork for the next call is made right after the last one has been answered and waits inside the gate, so that a
 * caller does not wait for it. It waits in the one system call that its filter still allows: a write to the log, whose
 * pipe this process keeps full and blocking until the call begins.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "process.h"
#include "process_exit.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

/* Shared with the process that waits in the gate until it unmaps it there, before the guest runs: no guest can write to it. */
struct before_gate {
  uint64_t faults;      /* page faults of the process so far */
  uint64_t output_held; /* layout_output_held */
};

static struct before_gate *before_gate;
static struct process next = {.pidfd = -1}; /* the one that waits in the gate */
static uint64_t gate_faults;                /* page faults of passing the gate and running nothing of the guest */

static bool prepare(struct guest *guest, char reason[REASON_SIZE]) {
  before_gate = mmap(NULL, KERB_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (before_gate != MAP_FAILED) return process_prepare(guest, reason);
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

/* What a call may leave in the log. The gate's own byte comes first; a guest that was killed at the gate has left nothing. */
static size_t drain_log(char kept[KERB_MAX_LOG]) {
  char gate;
  return read(LOG_READ_FD, &gate, 1) == 1 ? process_read_log(kept, KERB_MAX_LOG) : 0;
}

/* Both ends of the pipe have flags of their own; the guest's end decides whether the gate waits or the log drops. */
static bool block_log(bool block) { return fcntl(KERB_LOG_FD, F_SETFL, block ? O_WRONLY : O_WRONLY | O_NONBLOCK) == 0; }

/* Waits for the end of the process, at the latest until the budget has run out. */
static void watch(uint64_t started, uint64_t budget_ns, struct ending *ending, uint64_t *faults) {
  struct pollfd watched[2] = {{.fd = next.pidfd, .events = POLLIN}, {.fd = KERB_SOCKET_FD, .events = POLLIN | POLLRDHUP}};
  bool killed = false, demoted = false;
  for (;;) {
    const uint64_t used = process_clock_ns(CLOCK_MONOTONIC) - started;
    const uint64_t left = used < budget_ns ? budget_ns - used : 0;
    process_demote(&next, used, &demoted);
    const uint64_t wait = demoted || left < KERB_LONG_RUN_NS ? left : KERB_LONG_RUN_NS;
    const struct timespec timeout = {.tv_sec = (time_t)(wait / 1000000000), .tv_nsec = (long)(wait % 1000000000)};
    if (ppoll(watched, 2, killed ? NULL : &timeout, NULL) < 0 && errno != EINTR) return process_broken(ending, "ppoll");
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
    if (!process_kill(&next)) return process_broken(ending, "pidfd_send_signal");
  }
  siginfo_t exit = {0};
  struct rusage usage = {0};
  if (syscall(SYS_waitid, P_PIDFD, next.pidfd, &exit, WEXITED, &usage) != 0) return process_broken(ending, "waitid");
  ending->run_ns = process_clock_ns(CLOCK_MONOTONIC) - started;
  ending->cpu_ns = (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000 +
                   (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000;
  *faults = (uint64_t)usage.ru_minflt;
  /* One that ended in the instant before the kill was in time. */
  const bool in_time = exit.si_code == CLD_EXITED;
  if (!killed || (in_time && ending->kind == ENDING_DEADLINE)) read_exit(&exit, ending);
}

static bool fork_guest(const struct guest *guest, bool self_test, char reason[REASON_SIZE]) {
  static const char page[KERB_PAGE];
  if (next.pidfd >= 0) return true;
  before_gate->faults = before_gate->output_held = 0;
  if (write(KERB_LOG_FD, page, sizeof page) == sizeof page && block_log(true)) {
    if (process_fork(guest, self_test ? GATE_SELF_TEST : GATE_CALL, premap, &next)) return true;
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
  const uint64_t started = process_clock_ns(CLOCK_MONOTONIC);
  if (!open_gate()) return process_broken(ending, "the pipe of the log");
  uint64_t faults = 0;
  watch(started, budget_ns, ending, &faults);
  faults -= faults < before_gate->faults ? faults : before_gate->faults;
  if (gate_faults == 0) gate_faults = faults; /* the self-test comes first */
  ending->memory = memory_used(guest, faults);
  close(next.pidfd);
  next.pidfd = -1;
  ending->log_size = drain_log(ending->log);
}

static bool self_test(struct guest *guest, char reason[REASON_SIZE]) {
  static struct ending ending;
  if (!fork_guest(guest, true, reason)) return false;
  run(guest, SELF_TEST_NS, &ending);
  if (ending.kind == ENDING_DONE) return true;
  process_refused(&ending, reason);
  return false;
}

const struct isolation isolation_process_forked = {
    .id = KERB_ISOLATION_PROCESS,
    .prepare = prepare,
    .self_test = self_test,
    .make_ready = make_ready,
    .run = run,
    .rest = rest,
};
