#define _GNU_SOURCE
#include "confine.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "machine.h"

struct summary {
  char *text;
  size_t used;
};

__attribute__((format(printf, 2, 3))) static void add(struct summary *summary, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  const size_t room = CONFINEMENT_SIZE - summary->used;
  if (summary->used > 0 && room > 2) summary->used += (size_t)snprintf(summary->text + summary->used, room, "; ");
  const int length = vsnprintf(summary->text + summary->used, CONFINEMENT_SIZE - summary->used, format, arguments);
  va_end(arguments);
  if (length > 0) summary->used += (size_t)length;
  if (summary->used >= CONFINEMENT_SIZE) summary->used = CONFINEMENT_SIZE - 1;
}

static bool write_file(const char *path, const char *text) {
  const int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool written = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
  close(fd);
  return written;
}

/* An empty, read-only file system becomes the root, and everything else is let go. */
static bool empty_root(void) {
  return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
         mount("none", "/proc", "tmpfs", MS_NODEV | MS_NOEXEC | MS_NOSUID | MS_RDONLY, "size=4k,mode=755") == 0 &&
         chdir("/proc") == 0 && syscall(SYS_pivot_root, ".", ".") == 0 && umount2(".", MNT_DETACH) == 0 &&
         chdir("/") == 0;
}

static void enter_namespaces(struct summary *summary, bool root) {
  const int kinds = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
  const uid_t user = getuid();
  const gid_t group = getgid();
  if (unshare(root ? kinds : kinds | CLONE_NEWUSER) != 0) {
    add(summary, "no namespaces: %s", strerror(errno));
    return;
  }
  if (!root) { /* mounts need an owner that the new user namespace knows */
    char map[64];
    snprintf(map, sizeof map, "%u %u 1", user, user);
    bool mapped = write_file("/proc/self/setgroups", "deny") && write_file("/proc/self/uid_map", map);
    snprintf(map, sizeof map, "%u %u 1", group, group);
    mapped = mapped && write_file("/proc/self/gid_map", map);
    if (!mapped) {
      add(summary, "net namespace; no mount namespace: %s", strerror(errno));
      return;
    }
  }
  if (empty_root())
    add(summary, "empty mount and net namespaces");
  else
    add(summary, "net namespace; no empty root: %s", strerror(errno));
}

static bool drop_user(struct summary *summary, bool root, uid_t user) {
  if (root && (setgroups(0, NULL) != 0 || setresgid(user, user, user) != 0 || setresuid(user, user, user) != 0)) {
    add(summary, "cannot become user %u: %s", user, strerror(errno));
    return false;
  }
  /* Also what a new user namespace gave. */
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  const struct __user_cap_data_struct none[2] = {{0}, {0}};
  if (syscall(SYS_capset, &header, none) != 0) {
    add(summary, "cannot drop capabilities: %s", strerror(errno));
    return false;
  }
  add(summary, "user %u", getuid());
  return true;
}

static bool limit(int resource, rlim_t value) {
  return setrlimit(resource, &(struct rlimit){.rlim_cur = value, .rlim_max = value}) == 0;
}

/* Descriptors in use are 0 to 8 and one pidfd. No file that could grow is open; a core dump would hold a stranger's data. */
static bool limit_resources(struct summary *summary) {
  if (limit(RLIMIT_CORE, 0) && limit(RLIMIT_NOFILE, 16) && limit(RLIMIT_MEMLOCK, 0) && limit(RLIMIT_MSGQUEUE, 0) &&
      limit(RLIMIT_STACK, 256 * 1024))
    return true;
  add(summary, "cannot set resource limits: %s", strerror(errno));
  return false;
}

/*
 * The lowest of them; one that spins in it is ended after a second. The limit lets it pass that priority on to a guest that
 * it has killed (process_x86_64.c), and takes CAP_SYS_RESOURCE, which root in a container may lack, or a broker that has it.
 */
static void run_first(struct summary *summary) {
  const struct sched_param lowest = {.sched_priority = 1};
  const bool may_pass_on = limit(RLIMIT_RTPRIO, 1);
  if (!limit(RLIMIT_RTTIME, 1000000) ||
      syscall(SYS_sched_setscheduler, 0, SCHED_RR | SCHED_RESET_ON_FORK, &lowest) != 0)
    add(summary, "no real-time priority: %s", strerror(errno));
  else if (!may_pass_on)
    add(summary, "real-time priority for itself alone");
}

void confine_priority(void) {
  const struct sched_param none = {0};
  /* The flag can be cleared by the privileged alone. */
  syscall(SYS_sched_setscheduler, 0, SCHED_OTHER | SCHED_RESET_ON_FORK, &none);
}

/* Landlock with no rule denies every access right that this kernel's version of it knows (kernel docs, userspace-api). */
static void deny_files(struct summary *summary) {
  struct {
    uint64_t file_access, net_access, scoped;
  } rights = {0};
  const long version = syscall(SYS_landlock_create_ruleset, NULL, 0, 1u);
  if (version < 1) {
    add(summary, "no Landlock: %s", strerror(errno));
    return;
  }
  rights.file_access = (1u << 13) - 1;
  if (version >= 2) rights.file_access |= 1u << 13;
  if (version >= 3) rights.file_access |= 1u << 14;
  if (version >= 5) rights.file_access |= 1u << 15;
  if (version >= 4) rights.net_access = 3;
  if (version >= 6) rights.scoped = 3;
  const size_t size = version >= 6 ? 24 : version >= 4 ? 16 : 8;
  const int ruleset = (int)syscall(SYS_landlock_create_ruleset, &rights, size, 0u);
  if (ruleset < 0 || syscall(SYS_landlock_restrict_self, ruleset, 0u) != 0)
    add(summary, "no Landlock: %s", strerror(errno));
  else
    add(summary, "Landlock %ld", version);
  if (ruleset >= 0) close(ruleset);
}

bool confine(uid_t user, char text[CONFINEMENT_SIZE]) {
  struct summary summary = {text, 0};
  text[0] = 0;
  const bool root = geteuid() == 0;

  /* Should memory run out, the kernel takes a guest before it takes the broker. */
  if (!write_file("/proc/self/oom_score_adj", "500")) add(&summary, "no oom_score_adj: %s", strerror(errno));
  enter_namespaces(&summary, root);
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    add(&summary, "cannot set no_new_privs: %s", strerror(errno));
    return false;
  }
  run_first(&summary);
  if (!drop_user(&summary, root, user)) return false;
  deny_files(&summary);
  /*
   * Inherited by each call's process: no core dump and no ptrace by others of the same user, no time-stamp counter (the
   * finest clock there is), no huge pages (zeroing two mebibytes for one touched byte).
   */
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) {
    add(&summary, "cannot switch off dumps: %s", strerror(errno));
    return false;
  }
  if (prctl(PR_SET_TSC, PR_TSC_SIGSEGV, 0, 0, 0) != 0) {
    add(&summary, "cannot switch off the time-stamp counter: %s", strerror(errno));
    if (MACHINE_COUNTER_HIDES) return false;
  }
  if (MACHINE_COUNTER_HIDES && machine_counter_readable())
    add(&summary, "the time-stamp counter stays readable: this machine does not obey CR4.TSD");
  prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
  return limit_resources(&summary);
}
