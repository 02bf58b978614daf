#!/bin/sh
# Reads what the linker said of a task, and says of each name that is nowhere what a task has instead: one line each, the
# first 20. Names are those of musl and glibc, as the headers of both turn the ones in the source into others.
set -eu

hint() {
  # __isoc99_fscanf, __fgets_chk, __open_2, fopen64, getc_unlocked: what the source has is fscanf, fgets, open, fopen, getc.
  name=${1#__isoc99_} name=${name#__isoc23_}
  case $name in
    __*_chk) name=${name#__} name=${name%_chk} ;;
    __open_2 | __openat_2) name=${name#__} name=${name%_2} ;;
    __errno_location) ;;
    __*) name=${name#__} ;;
  esac
  name=${name%_unlocked} name=${name%64}
  case $name in
    kerb_task)
      echo "kerb_task is missing: a task is this function, and KERB_TASK beside it (kerbside/task.h)"
      return ;;
    dprintf | vdprintf | write | writev | pwrite* | putw | putwc | putwchar | fputw* | fwprintf | vfwprintf | wprintf | vwprintf | \
      warn | warnx | vwarn* | err | errx | verr* | *syslog | *log_mask | setlogmask | closelog | psignal | psiginfo | fmtmsg | \
      setlinebuf | setbuffer | fwide)
      what="a task has no descriptors; log with printf, fprintf(stderr, ...) or kerb_log; what it has worked out goes to out" ;;
    fopen | fdopen | freopen | fclose | fread | fget* | fscanf | vfscanf | scanf | vscanf | fwscanf | vfwscanf | wscanf | vwscanf | \
      get | gets | getc | getchar | getw | getwc | getwchar | getline | getdelim | getpass | unget* | feof | ferror | clearerr | \
      fileno | fseek* | fsetpos | ftell* | rewind | fflush | fpurge | flockfile | ftrylockfile | funlockfile | fmemopen | fopencookie | \
      open_memstream | open_wmemstream | tmpfile | tmpnam | tempnam | mktemp | mk*temp* | \
      open | openat | open_by_handle_at | name_to_handle_at | creat | close | posix_close | read | readv | pread* | readahead | lseek | \
      dup | dup2 | dup3 | fcntl | ioctl | isatty | tty* | *pty | ptsname* | *grantpt | unlockpt | tc* | cf[gs]et* | cfmakeraw | \
      *truncate | *fallocate | posix_fadvise | flock | lockf | *sync | fdatasync | sync_file_range | sync* | copy_file_range | \
      sendfile | splice | tee | vmsplice | pipe | pipe2 | eventfd* | signalfd | timerfd* | inotify* | fanotify* | epoll* | poll | \
      ppoll | select | pselect | aio_* | lio_* | memfd_create | \
      *stat | *statat | *statfs | *statvfs | access | faccessat | eaccess | euidaccess | *chmod | *chmodat | *chown | *chownat | \
      *utime | *utimes | *utimesat | utimensat | futimens | umask | rename* | remove | unlink | unlinkat | link | linkat | symlink* | \
      readlink* | mkdir* | rmdir | mkfifo* | mknod* | *xattr | *dir | *dirname | getcwd | dirfd | readdir* | scandir | getdents | \
      *path | glob | globfree | ftw | nftw | fts_* | pathconf | fpathconf | *mount* | *mntent* | *pwent | *pwnam* | *pwuid* | \
      *grent | *grgid* | *grnam* | *spent | *spnam | chroot | wordexp | wordfree | cat*)
      what="a task has no files and no descriptors; its input is in, with in_size bytes, and tables are compiled into it" ;;
    time | clock | clock_* | gettimeofday | ftime | times | timespec_get | localtime* | gmtime* | ctime* | mktime | timegm | \
      strftime* | wcsftime* | getdate | tzset | tzname | timezone | daylight | *adjtime* | settimeofday | stime | \
      sleep | usleep | nanosleep | alarm | ualarm | *itimer | timer_* | getrusage | getloadavg)
      what="a task has no clock and does not wait; kerb_time_ms() is when its call began" ;;
    pthread_* | thrd_* | mtx_* | cnd_* | tss_* | call_once | sem_* | clone | sched_* | gettid | GOMP_* | omp_*)
      what="a task is one thread, and needs no locks" ;;
    fork | vfork | exec* | fexecve | system | popen | pclose | posix_spawn* | wait | wait3 | wait4 | waitid | waitpid | kill | killpg | \
      raise | pause | signal | bsd_signal | sig* | daemon | ptrace | quick_exit | at_quick_exit | getpid | getppid | *gid | *uid | \
      *groups | *pgrp | *sid | prctl | nice | *priority | *rlimit | ulimit | syscall | sys*info | sysconf | uname | *hostname | \
      *env | environ | getauxval | getopt* | dl* | shm* | sem[a-z]* | msg* | mq_*)
      what="a task has no processes, no signals and no system calls; it ends by returning, or with kerb_abort" ;;
    socket* | accept* | bind | connect | listen | send* | recv* | shutdown | *sockopt | *sockname | *peername | *addrinfo | \
      *nameinfo | *hostby* | *hostent | *servby* | *servent | *proto* | *netent | *netby* | *ifaddrs | if_* | res_* | sockatmark)
      what="a task has no network; its input is in, with in_size bytes" ;;
    getrandom | getentropy)
      what="a task has no kernel to ask; kerb_seed() is 32 random bytes, fresh for each call" ;;
    mmap | munmap | mremap | mprotect | madvise | posix_madvise | m*lock* | msync | brk | sbrk | valloc | mincore | remap_file_pages)
      what="a task's memory is what it declares; take of it with malloc" ;;
    setlocale | *locale | *gettext* | *textdomain* | iconv*)
      what="a task has the locale C and nothing else" ;;
    *)
      echo "${1} is neither in the task nor in what a task has (broker/unikernel/README.md says what that is)"
      return ;;
  esac
  echo "$name is not there: $what"
}

# GNU ld quotes `like this'; lld and others 'so'.
LC_ALL=C sed -n "s/.*undefined reference to [\`']\\([A-Za-z0-9_.\$]*\\)'.*/\\1/p" | awk '!seen[$0]++' | head -n 20 |
  while read -r symbol; do hint "$symbol"; done | awk '!seen[$0]++ { print "build-task.sh: " $0 }'
