#define _GNU_SOURCE
#include "vm_alarm.h"

#include <signal.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* The kernel's own number of the timer: libc keeps others. */
static int timer;
static struct kvm_run *volatile running;

static void ring(int signal) {
  (void)signal;
  struct kvm_run *run = running;
  if (run != NULL) __atomic_store_n(&run->immediate_exit, 1, __ATOMIC_SEQ_CST);
}

bool alarm_open(void) {
  struct sigaction action = {.sa_handler = ring};
  struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGALRM};
  event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
  sigset_t alarm;
  sigemptyset(&alarm);
  sigaddset(&alarm, SIGALRM);
  return sigaction(SIGALRM, &action, NULL) == 0 && sigprocmask(SIG_UNBLOCK, &alarm, NULL) == 0 &&
         syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &timer) == 0;
}

static bool set(uint64_t nanoseconds) {
  const struct itimerspec when = {
      .it_value = {.tv_sec = (time_t)(nanoseconds / 1000000000), .tv_nsec = (long)(nanoseconds % 1000000000)}};
  return syscall(SYS_timer_settime, timer, 0, &when, NULL) == 0;
}

bool alarm_set(struct kvm_run *run, uint64_t nanoseconds) {
  running = run;
  __atomic_store_n(&run->immediate_exit, 0, __ATOMIC_SEQ_CST);
  return set(nanoseconds > 0 ? nanoseconds : 1);
}

void alarm_stop(void) {
  running = NULL;
  set(0);
}
