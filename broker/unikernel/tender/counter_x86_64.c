#define _GNU_SOURCE
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

#include "machine.h"

#define RDTSC_SIZE 2

static volatile bool refused;

static void skip(int signal, siginfo_t *info, void *context) {
  (void)signal, (void)info;
  refused = true;
  ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += RDTSC_SIZE;
}

bool machine_counter_readable(void) {
  struct sigaction action = {.sa_sigaction = skip, .sa_flags = SA_SIGINFO}, before;
  if (sigaction(SIGSEGV, &action, &before) != 0) return true;
  refused = false;
  __asm__ volatile("rdtsc" : : : "rax", "rdx", "memory");
  sigaction(SIGSEGV, &before, NULL);
  return !refused;
}
