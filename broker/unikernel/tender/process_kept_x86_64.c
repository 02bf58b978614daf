/*
 * Isolation `process` with one process for all calls, which is put back after each: what a fork, its page faults and its end
 * cost is more than most calls do. The tender traces it (ptrace). Its filter stops it at `exit_group`, which is how a call
 * ends, and at the write of nothing that ends its start-up; a signal stops it before its handler runs. So nothing that it
 * does goes on without the tender, and what the tender reads is the kernel's word.
 *
 * Everything that a call can change is put back: memory (process_memory.c: all that it may write to is a memfd of the
 * tender's), every register that the kernel keeps for it, output and mailbox (layout.c). It can change nothing of itself in the
 * kernel, because the one system call that it can make is a write to the log. Where a call ends in another way than at a
 * doorbell, or leaves a flag that cannot be put back, its process is ended, and the next call has another one.
 *
 * Start-up runs once, and each call goes on from its end. An image whose start-up never gets there is no trouble: each call
 * then starts at the entry point.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "process.h"
#include "process_exit.h"
#include "process_memory.h"
#include "process_trace_x86_64.h"
#include "wire.h"

#define STARTUP_BUDGET_NS 100000000
/* How long a run goes on before this thread looks whether the broker is still there. */
#define LOOK_NS 10000000
#define NO_SYSTEM_CALL ((unsigned long long)-1)
#define FLAGS_AT_START 0x202ull /* interrupts on, and the bit that is always set */
/* EFLAGS that PTRACE_SETREGS writes (Linux, arch/x86/kernel/ptrace.c): CF PF AF ZF SF TF DF OF NT RF AC. */
#define FLAGS_PUT_BACK 0x54dd5ull

static struct process kept = {.pidfd = -1};
static uint64_t computed_ns; /* its processor time before this call */
static uint64_t ended_ns;    /* all of its processor time, once it has ended */
/* The last run ended at a doorbell, and the process can be put back; a demoted one cannot: only the privileged could. */
static bool orderly, demoted;
/* Where every call starts. */
static struct user_regs_struct start;
static struct trace_vectors start_vectors;
static char startup_log[KERB_MAX_LOG];
static size_t startup_log_size;

enum heard { HEARD_STOP, HEARD_END, HEARD_NOTHING, HEARD_BROKER_GONE, HEARD_TROUBLE };

/* Whether it has stopped or ended: HEARD_NOTHING only with WNOHANG. One that has ended is gone. */
static enum heard look(int flags, siginfo_t *state) {
  struct rusage usage;
  state->si_pid = 0;
  if (syscall(SYS_waitid, P_PID, kept.pid, state, WEXITED | WSTOPPED | __WALL | flags, &usage) != 0) return HEARD_TROUBLE;
  if (state->si_pid == 0) return HEARD_NOTHING;
  if (state->si_code == CLD_TRAPPED || state->si_code == CLD_STOPPED) return HEARD_STOP;
  ended_ns = (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000 +
             (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000;
  close(kept.pidfd);
  kept.pidfd = -1;
  return HEARD_END;
}

/*
 * Waits until it has stopped or ended, or the time is over: HEARD_NOTHING. SIGCHLD is blocked, so one that comes between a look
 * and the wait ends the wait; one of an earlier stop costs another look. Between two calls the broker may speak.
 */
static enum heard hear(uint64_t began, uint64_t used, uint64_t budget_ns, bool in_call, siginfo_t *state) {
  const uint64_t child = 1ull << (SIGCHLD - 1);
  for (;;) {
    const uint64_t left = used < budget_ns ? budget_ns - used : 0, wait = left < LOOK_NS ? left : LOOK_NS;
    const struct timespec timeout = {.tv_sec = 0, .tv_nsec = (long)wait};
    const bool early = syscall(SYS_rt_sigtimedwait, &child, NULL, &timeout, sizeof child) == SIGCHLD;
    const enum heard heard = look(WNOHANG, state);
    if (heard != HEARD_NOTHING) return heard;
    used = process_clock_ns(CLOCK_MONOTONIC) - began;
    if (used >= budget_ns) return HEARD_NOTHING;
    if (in_call) process_demote(&kept, used, &demoted);
    if (in_call && !early && broker_gone()) return HEARD_BROKER_GONE;
  }
}

static void end(void) {
  siginfo_t state;
  if (kept.pidfd < 0) return;
  process_kill(&kept);
  while (look(0, &state) == HEARD_STOP); /* one that nobody has looked at yet */
}

/* A signal that has not been delivered: the kernel's own word. Of one that was sent nothing else is known. */
static void keep_fault(const struct user_regs_struct *now, struct ending *ending) {
  siginfo_t signal = {.si_signo = SIGKILL};
  trace(PTRACE_GETSIGINFO, kept.pid, 0, &signal); /* or it was killed since */
  const struct kerb_mailbox report = {
      .signal = (uint32_t)signal.si_signo,
      .signal_code = signal.si_code,
      .fault_address = (uint64_t)(uintptr_t)signal.si_addr,
      .instruction = now->rip,
      .stack_pointer = now->rsp,
      .system_call = signal.si_syscall,
      .system_call_machine = signal.si_arch,
  };
  const struct kerb_mailbox sent = {.signal = (uint32_t)signal.si_signo};
  read_fault(signal.si_code > 0 ? &report : &sent, ending);
}

/* It has stopped. True when the run is over; a `ready` is not its end, unless that is what is waited for: then `*ready`. */
static bool understand(const siginfo_t *state, bool *ready, struct ending *ending) {
  struct user_regs_struct now;
  if (trace(PTRACE_GETREGS, kept.pid, 0, &now) != 0) {
    if (errno == ESRCH) return false; /* it was killed since */
    process_broken(ending, "ptrace");
    return true;
  }
  if (state->si_status != TRACE_STOP_AT_CALL) {
    keep_fault(&now, ending);
    return true;
  }
  if (now.orig_rax == SYS_exit_group) {
    read_doorbell((int)(now.rdi & 0xff), ending);
    orderly = ending->kind != ENDING_FAULT && !demoted && ((now.eflags ^ start.eflags) & ~FLAGS_PUT_BACK) == 0;
    return true;
  }
  return ready != NULL && (*ready = true);
}

/* Runs to the end of a call, at the latest until the budget has run out; or, in start-up, to `ready`. */
static void go(uint64_t began, uint64_t budget_ns, bool *ready, struct ending *ending) {
  siginfo_t state;
  uint64_t used = 0; /* asked of the clock only where a run goes on: most do not */
  orderly = false;
  for (;;) {
    if (trace(PTRACE_CONT, kept.pid, 0, NULL) != 0 && errno != ESRCH) return process_broken(ending, "ptrace");
    enum heard heard = hear(began, used, budget_ns, ready == NULL, &state);
    if (heard == HEARD_TROUBLE) return process_broken(ending, "waitid");
    if (heard == HEARD_END) return read_exit(&state, ending);
    if (heard == HEARD_STOP) {
      if (understand(&state, ready, ending)) return;
      used = process_clock_ns(CLOCK_MONOTONIC) - began;
      if (used < budget_ns && (ready != NULL || !broker_gone())) continue;
      heard = used < budget_ns ? HEARD_BROKER_GONE : HEARD_NOTHING;
    }
    ending->kind = heard == HEARD_BROKER_GONE ? ENDING_BROKER_GONE : ENDING_DEADLINE;
    return end();
  }
}

static bool put_back(void) {
  return trace(PTRACE_SETREGS, kept.pid, 0, &start) == 0 && trace_write_vectors(kept.pid, &start_vectors);
}

static bool stopped_at(int status, struct ending *ending) {
  siginfo_t state;
  const enum heard heard = hear(process_clock_ns(CLOCK_MONOTONIC), 0, SELF_TEST_NS, false, &state);
  if (heard == HEARD_STOP && state.si_status == status) return true;
  ending->kind = ENDING_FAULT;
  if (heard == HEARD_END)
    read_exit(&state, ending);
  else if (heard == HEARD_STOP)
    ending->signal = (uint32_t)state.si_status & 0xff;
  else
    process_broken(ending, "a process for calls did not start");
  return false;
}

/* Another process, through the gate up to where the guest begins. */
static bool begin(const struct guest *guest, char reason[REASON_SIZE]) {
  static struct ending ending;
  struct user_regs_struct now;
  memset(&ending, 0, offsetof(struct ending, log));
  demoted = false;
  if (!process_fork(guest, GATE_KEPT, trace_me, &kept)) {
    snprintf(reason, REASON_SIZE, "cannot start a process for calls: %s", strerror(errno));
    return false;
  }
  if (!stopped_at(SIGTRAP, &ending)) {
    /* see process_refused */
  } else if (trace(PTRACE_SETOPTIONS, kept.pid, 0, (void *)TRACE_OPTIONS) != 0 || trace(PTRACE_CONT, kept.pid, 0, NULL) != 0) {
    process_broken(&ending, "ptrace");
  } else if (stopped_at(TRACE_STOP_AT_CALL, &ending)) {
    if (trace(PTRACE_GETREGS, kept.pid, 0, &now) != 0)
      process_broken(&ending, "ptrace");
    else if (now.orig_rax == SYS_exit_group)
      read_doorbell((int)now.rdi, &ending);
  }
  if (ending.kind == ENDING_DONE && now.orig_rax == SYS_exit_group) return true;
  process_refused(&ending, reason);
  end();
  return false;
}

static bool prepare(struct guest *guest, char reason[REASON_SIZE]) {
  const uint64_t child = 1ull << (SIGCHLD - 1);
  if (!process_prepare(guest, reason)) return false;
  if (layout_seal_memory(guest) && memory_prepare(guest) &&
      syscall(SYS_rt_sigprocmask, SIG_BLOCK, &child, NULL, sizeof child) == 0)
    return true;
  snprintf(reason, REASON_SIZE, "cannot set up isolation `process`: %s", strerror(errno));
  return false;
}

/*
 * The state at the entry point: what the gate's way there leaves in forks for each call; but for the base of GS, which nobody
 * uses. A kernel that does not use FSGSBASE itself takes a base of zero for one that nobody has changed, and leaves it to the
 * next process; on a machine whose hypervisor lets WRGSBASE pass all the same, it would be the guest's. Others it always writes.
 */
static bool first_state(const struct guest *guest) {
  struct user_regs_struct now;
  if (trace(PTRACE_GETREGS, kept.pid, 0, &now) != 0) return false;
  start = (struct user_regs_struct){
      .rip = guest->image.entry.value,
      .rsp = KERB_STACK_TOP,
      .rdi = KERB_INFO,
      .orig_rax = NO_SYSTEM_CALL,
      .eflags = FLAGS_AT_START,
      .cs = now.cs,
      .ss = now.ss,
      .fs_base = KERB_THREAD_POINTER,
      .gs_base = KERB_THREAD_POINTER,
  };
  return trace_read_vectors(kept.pid, &start_vectors);
}

/* The state at the end of start-up, in the write of nothing: as if that had been done. */
static bool ready_state(void) {
  if (trace(PTRACE_GETREGS, kept.pid, 0, &start) != 0 || !trace_read_vectors(kept.pid, &start_vectors))
    return false;
  start.orig_rax = NO_SYSTEM_CALL;
  start.rax = 0;
  return memory_take();
}

static uint64_t computed(void) {
  return kept.pidfd < 0 ? ended_ns : process_clock_ns((clockid_t)(~(unsigned)kept.pid << 3 | 2)); /* clock_getcpuclockid(3) */
}

/* The first process of an image: through its start-up once. */
static bool self_test(struct guest *guest, char reason[REASON_SIZE]) {
  static struct ending ending;
  bool ready = false;
  memset(&ending, 0, offsetof(struct ending, log));
  if (!begin(guest, reason)) return false;
  layout_begin(guest, KERB_ISOLATION_PROCESS, 0);
  if (first_state(guest) && put_back()) {
    go(process_clock_ns(CLOCK_MONOTONIC), STARTUP_BUDGET_NS, &ready, &ending);
    startup_log_size = process_read_log(startup_log, sizeof startup_log);
    orderly = ready && ready_state();
    if (!ready) startup_log_size = 0;
    computed_ns = computed();
    uint64_t pages;
    if ((orderly || !ready) && ending.kind != ENDING_TENDER_BROKEN && memory_compare(&pages)) return true;
  }
  snprintf(reason, REASON_SIZE, "the self-test of isolation `process` failed: %s", strerror(errno));
  return false;
}

static bool make_ready(struct guest *guest, char reason[REASON_SIZE]) {
  if (!memory_restore()) {
    snprintf(reason, REASON_SIZE, "cannot put the guest's memory back: %s", strerror(errno));
    return false;
  }
  if (orderly && put_back()) return true;
  end(); /* or it was killed since its call */
  if (!begin(guest, reason)) return false;
  computed_ns = computed();
  if (put_back()) return true;
  snprintf(reason, REASON_SIZE, "cannot put the guest back: %s", strerror(errno));
  return false;
}

static void run(struct guest *guest, uint64_t budget_ns, struct ending *ending) {
  (void)guest;
  memset(ending, 0, offsetof(struct ending, log));
  memcpy(ending->log, startup_log, startup_log_size);
  const uint64_t began = process_clock_ns(CLOCK_MONOTONIC);
  go(began, budget_ns, NULL, ending);
  ending->run_ns = process_clock_ns(CLOCK_MONOTONIC) - began;
  const uint64_t cpu = computed();
  ending->cpu_ns = cpu > computed_ns ? cpu - computed_ns : 0;
  computed_ns = cpu;
  uint64_t pages;
  if (memory_compare(&pages)) ending->memory = pages * KERB_PAGE;
  else if (ending->kind != ENDING_BROKER_GONE) process_broken(ending, "lseek");
  ending->log_size = startup_log_size + process_read_log(ending->log + startup_log_size, KERB_MAX_LOG - startup_log_size);
}

static bool rest(struct guest *guest) {
  (void)guest;
  return memory_rest();
}

const struct isolation isolation_process_kept = {
    .id = KERB_ISOLATION_PROCESS,
    .prepare = prepare,
    .self_test = self_test,
    .make_ready = make_ready,
    .run = run,
    .rest = rest,
};
