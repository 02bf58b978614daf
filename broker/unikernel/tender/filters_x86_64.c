#define _GNU_SOURCE
#include <fcntl.h>
#include <kerbside/frames.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "filters.h"

#define ARCH_SET_FS 0x1002

/* A filter is a list of rules, each of which lets something through or falls to the next; at the end stands the kill. */
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define ALLOW BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define KILL BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)
/* x32 calls have bit 30 set in their number, so they match no rule; other instruction sets are cut off here. */
#define ONLY_X86_64                                                            \
  LOAD(arch), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0), KILL, LOAD(nr)
#define LET(call) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##call, 0, 1), ALLOW
/* Only with this value in the low half of an argument; the kernel itself takes these arguments as 32-bit ints. */
#define LET_WITH(call, argument, value)                                                                        \
  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##call, 0, 4), LOAD(args[argument]),                                 \
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), 0, 1), ALLOW, LOAD(nr)

/* What a call needs whatever its isolation. */
#define SERVING                                                                                                \
  LET(recvfrom), LET(sendmsg), LET(ppoll), LET(close), LET(fallocate), LET(getrandom), LET(clock_gettime),     \
      LET(exit_group), LET(munmap), LET(write)

/* The tender's own steps, then those of the new process on its way to the gate. */
#define SERVING_PROCESS                                                                                        \
  LET(read), LET_WITH(clone, 0, CLONE_PIDFD | SIGCHLD), LET(waitid), LET_WITH(pidfd_send_signal, 1, SIGKILL),  \
      LET_WITH(prctl, 0, PR_SET_PDEATHSIG), LET(getppid), LET(close_range), LET_WITH(prlimit64, 0, 0),         \
      LET_WITH(arch_prctl, 0, ARCH_SET_FS), LET_WITH(seccomp, 0, SECCOMP_SET_MODE_FILTER),                     \
      LET_WITH(fcntl, 1, F_SETFL), LET(fstat), \
      LET_WITH(futex, 1, FUTEX_LOCK_PI), LET_WITH(sched_setscheduler, 1, SCHED_FIFO)

/*
 * A call, and then the way back: to the snapshot, or to a new machine. The one mapping that is made is that of kvm_run. An
 * ioctl is let through by its number, whatever the descriptor: none of these means anything to one that is not KVM's.
 */
#define SERVING_VM                                                                                             \
  LET_WITH(ioctl, 1, KVM_RUN), LET_WITH(ioctl, 1, KVM_GET_REGS), LET_WITH(ioctl, 1, KVM_SET_REGS),             \
      LET_WITH(ioctl, 1, KVM_GET_SREGS), LET_WITH(ioctl, 1, KVM_SET_SREGS), LET_WITH(ioctl, 1, KVM_GET_XSAVE), \
      LET_WITH(ioctl, 1, KVM_SET_XSAVE), LET_WITH(ioctl, 1, KVM_GET_XCRS), LET_WITH(ioctl, 1, KVM_SET_XCRS),   \
      LET_WITH(ioctl, 1, KVM_GET_DEBUGREGS), LET_WITH(ioctl, 1, KVM_SET_DEBUGREGS),                            \
      LET_WITH(ioctl, 1, KVM_GET_VCPU_EVENTS), LET_WITH(ioctl, 1, KVM_SET_VCPU_EVENTS),                        \
      LET_WITH(ioctl, 1, KVM_GET_DIRTY_LOG), LET_WITH(ioctl, 1, KVM_CREATE_VM),                                \
      LET_WITH(ioctl, 1, KVM_SET_TSS_ADDR), LET_WITH(ioctl, 1, KVM_SET_USER_MEMORY_REGION),                    \
      LET_WITH(ioctl, 1, KVM_CREATE_VCPU), LET_WITH(ioctl, 1, KVM_SET_CPUID2),                                 \
      LET_WITH(mmap, 3, MAP_SHARED), LET_WITH(madvise, 2, MADV_DONTNEED), LET(lseek), \
      LET(timer_settime), LET(rt_sigreturn)

static bool install(const struct sock_filter *rules, size_t count) {
  const struct sock_fprog program = {.len = (unsigned short)count, .filter = (struct sock_filter *)rules};
  return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0;
}

bool filter_loading(void) {
  static const struct sock_filter rules[] = {
      ONLY_X86_64,         SERVING,          SERVING_PROCESS, SERVING_VM,     LET(mmap),        LET(mprotect),
      LET(brk),            LET(ftruncate),   LET(fcntl),      LET(getpid),    LET(gettid),      LET(rt_sigaction),
      LET(rt_sigprocmask), LET(sigaltstack), LET(madvise),    LET(timer_create),
      LET_WITH(sched_setscheduler, 1, SCHED_OTHER | SCHED_RESET_ON_FORK), KILL,
  };
  return install(rules, sizeof rules / sizeof *rules);
}

bool filter_serving(uint32_t isolation) {
  static const struct sock_filter process[] = {ONLY_X86_64, SERVING, SERVING_PROCESS, KILL};
  static const struct sock_filter vm[] = {ONLY_X86_64, SERVING, SERVING_VM, KILL};
  return isolation == KERB_ISOLATION_VM ? install(vm, sizeof vm / sizeof *vm)
                                        : install(process, sizeof process / sizeof *process);
}
