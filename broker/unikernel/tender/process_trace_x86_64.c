/* See process_trace_x86_64.h; and whether a kernel lets this process do all of that. */
#define _GNU_SOURCE
#include "process_trace_x86_64.h"

#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "process.h"

long trace(long request, pid_t pid, unsigned long address, void *data) {
  return syscall(SYS_ptrace, request, (long)pid, address, data);
}

bool trace_read_vectors(pid_t pid, struct trace_vectors *vectors) {
  struct iovec area = {vectors->area, sizeof vectors->area};
  if (trace(PTRACE_GETREGSET, pid, NT_X86_XSTATE, &area) != 0) return false;
  vectors->size = area.iov_len;
  errno = E2BIG;
  return area.iov_len < sizeof vectors->area;
}

bool trace_write_vectors(pid_t pid, struct trace_vectors *vectors) {
  struct iovec area = {vectors->area, vectors->size};
  return trace(PTRACE_SETREGSET, pid, NT_X86_XSTATE, &area) == 0;
}

bool trace_me(const struct guest *guest) {
  (void)guest;
  if (trace(PTRACE_TRACEME, 0, 0, NULL) != 0) return false;
  __asm__ volatile("int3" : : : "memory");
  return true;
}

/* Of a process that is made for this. */
static bool try_ptrace(pid_t pid) {
  static struct trace_vectors vectors;
  struct user_regs_struct now;
  siginfo_t state;
  if (syscall(SYS_waitid, P_PID, pid, &state, WEXITED | WSTOPPED | __WALL, NULL) != 0) return false;
  if (state.si_code != CLD_TRAPPED || state.si_status != SIGTRAP) {
    errno = state.si_code == CLD_EXITED && state.si_status != 0 ? state.si_status : EPERM;
    return false;
  }
  return trace(PTRACE_SETOPTIONS, pid, 0, (void *)TRACE_OPTIONS) == 0 && trace(PTRACE_GETREGS, pid, 0, &now) == 0 &&
         trace(PTRACE_SETREGS, pid, 0, &now) == 0 && trace_read_vectors(pid, &vectors) &&
         trace_write_vectors(pid, &vectors);
}

bool process_may_be_kept(char way[REASON_SIZE]) {
  const pid_t tender = getpid();
  const long pid = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
  if (pid == 0) {
    /* As in process.c: were the tender killed before, init would be the tracer, and this would stay stopped for good. */
    if (syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL) == 0 && syscall(SYS_getppid) == tender) trace_me(NULL);
    for (;;) syscall(SYS_exit_group, errno & 0xff);
  }
  const bool may = pid > 0 && try_ptrace((pid_t)pid);
  snprintf(way, REASON_SIZE, may ? "one process, put back after each call" : "a process for each call (ptrace: %s)", strerror(errno));
  const int pidfd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
  if (pidfd < 0) return false;
  siginfo_t state;
  syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
  while (syscall(SYS_waitid, P_PID, pid, &state, WEXITED | __WALL, NULL) == 0 && state.si_code == CLD_TRAPPED);
  close(pidfd);
  return may;
}
