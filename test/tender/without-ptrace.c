/*
 * Starts the tender that lies beside this program where ptrace is forbidden, as containers may do it: the system call answers
 * EPERM. So that tender makes a process for each call.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int count, char **arguments) {
  struct sock_filter rules[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ptrace, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const struct sock_fprog program = {.len = sizeof rules / sizeof *rules, .filter = rules};
  char path[4096];
  const ssize_t size = readlink("/proc/self/exe", path, sizeof path - sizeof "kerb-tender");
  if (size <= 0 || count < 1) return 1;
  path[size] = 0;
  strcpy(strrchr(path, '/') + 1, "kerb-tender");
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0) {
    perror("without-ptrace");
    return 1;
  }
  execv(path, arguments);
  perror(path);
  return 1;
}
