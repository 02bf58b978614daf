#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <kerbside/frames.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "filters.h"
#include "process.h"

/*
 * A filter is a list of rules, each of which lets something through or falls to the next; at the end stands the refusal. Of
 * several filters the strictest word counts, and a guest in a process has the tender's as well: so what it may not is a trap,
 * which the gate's handler reports with the number of the call. Where nothing catches it, it ends the process as a kill does.
 */
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define ALLOW BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define TRAP BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP)
#define KILL BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)
/* Other instruction sets, the 32-bit one of the same processor too, are cut off here. */
#define ONLY_THIS_MACHINE                                                      \
  LOAD(arch), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MACHINE_AUDIT, 1, 0), TRAP, LOAD(nr)
#define LET(call) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##call, 0, 1), ALLOW
/* Only with this value in the low half of an argument; the kernel itself takes these arguments as 32-bit ints. */
#define LET_WITH(call, argument, value)                                                                        \
  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##call, 0, 4), LOAD(args[argument]),                                 \
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), 0, 1), ALLOW, LOAD(nr)

#if defined(__x86_64__)
#include "filters_x86_64.h"
#elif defined(__aarch64__)
#include "filters_aarch64.h"
#endif

/* What a call needs whatever its isolation. */
#define SERVING                                                                                                \
  LET(recvfrom), LET(sendmsg), LET(ppoll), LET(close), LET(fallocate), LET(getrandom), LET(clock_gettime),     \
      LET(exit_group), LET(munmap), LET(write), LET(lseek)

/* The tender's own steps, then those of the new process on its way to the gate. */
#define SERVING_PROCESS                                                                                        \
  LET(read), LET_WITH(clone, 0, SIGCHLD), LET_WITH(pidfd_open, 1, 0), LET(waitid),                             \
      LET_WITH(pidfd_send_signal, 1, SIGKILL), LET_WITH(prctl, 0, PR_SET_PDEATHSIG), LET(getppid),             \
      LET(close_range), LET_WITH(prlimit64, 0, 0), LET_WITH(seccomp, 0, SECCOMP_SET_MODE_FILTER),              \
      LET_WITH(fcntl, 1, F_SETFL), LET(fstat), LET_WITH(futex, 1, FUTEX_LOCK_PI),                              \
      LET_WITH(sched_setscheduler, 1, SCHED_FIFO), LET_WITH(getrusage, 0, RUSAGE_SELF),                        \
      LET_WITH(setpriority, 2, KERB_LONG_NICENESS) MACHINE_PROCESS

#ifdef KERB_UNSEALED /* kerb-tender-unsealed alone, which qemu-user runs in tests: it knows no seccomp. See Makefile */
static bool unsealed;
#endif

static bool install(const struct sock_filter *rules, size_t count) {
  const struct sock_fprog program = {.len = (unsigned short)count, .filter = (struct sock_filter *)rules};
  if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0) return true;
#ifdef KERB_UNSEALED
  unsealed = errno == ENOSYS;
  return unsealed;
#else
  return false;
#endif
}

#ifdef KERB_UNSEALED
const char *filter_warning(void) { return unsealed ? "; NOT SEALED: no seccomp here, and this is the test build that goes on" : ""; }
#else
const char *filter_warning(void) { return ""; }
#endif

bool filter_loading(void) {
  static const struct sock_filter rules[] = {
      ONLY_THIS_MACHINE, SERVING, SERVING_PROCESS MACHINE_VM, LET(mmap), LET(mprotect), LET(brk), LET(ftruncate),
      LET(fcntl), LET(getpid), LET(gettid), LET(rt_sigaction), LET(rt_sigprocmask), LET(sigaltstack), LET(madvise),
      LET(timer_create), LET_WITH(sched_setscheduler, 1, SCHED_OTHER | SCHED_RESET_ON_FORK), TRAP,
  };
  return install(rules, sizeof rules / sizeof *rules);
}

bool filter_serving(uint32_t isolation) {
  static const struct sock_filter process[] = {ONLY_THIS_MACHINE, SERVING, SERVING_PROCESS, TRAP};
  static const struct sock_filter vm[] = {ONLY_THIS_MACHINE, SERVING MACHINE_VM, KILL};
  return isolation == KERB_ISOLATION_VM ? install(vm, sizeof vm / sizeof *vm)
                                        : install(process, sizeof process / sizeof *process);
}
