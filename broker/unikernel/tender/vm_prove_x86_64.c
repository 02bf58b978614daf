/*
 * Choosing by doing. A KVM that is there may be of no use: /dev/kvm without rights, a module without hardware below it, a
 * processor that is emulated instruction by instruction. So a small guest is run in the very machine that tasks get: vector
 * arithmetic, a loop against the clock, a page fault, a forbidden port.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "isolation.h"
#include "vm_alarm.h"
#include "vm_exit_x86_64.h"
#include "vm_probe.h"

extern const uint8_t kerb_probe_start[], kerb_probe_end[], kerb_probe_load[], kerb_probe_port[], kerb_probe_touch[];

/* The loop is 200,000 instructions: 50 microseconds and more on whatever runs them itself; 160 ms where each is emulated. */
#ifdef KERB_TEST_EMULATED /* a test build that takes this, too: see Makefile */
#define SLOWEST_NS 5000000000ull
#else
#define SLOWEST_NS 5000000
#endif
#define TRIES 3
#define MEMORY ((2 + KERB_PROBE_PAGE_COUNT) * KERB_PAGE)

static struct region regions[3];
static uint64_t fault_ns;
static struct machine machine;
static struct processor first;
static struct vm_exit seen;

static uint64_t now_ns(void) {
  struct timespec now;
  syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static bool says(char reason[REASON_SIZE], const char *what) {
  snprintf(reason, REASON_SIZE, "KVM: %s", what);
  return false;
}

/* With how the guest came out: a fault of it as frames.h has it, the address where it was, what it had to do with. */
static bool says_exit(char reason[REASON_SIZE], const char *what) {
  snprintf(reason, REASON_SIZE, "KVM: %s: exit %u, port 0x%x, fault 0x%x, signal %u at 0x%llx, address 0x%llx", what,
           (unsigned)seen.kind, seen.port, seen.fault, seen.signal, (unsigned long long)seen.instruction,
           (unsigned long long)seen.address);
  return false;
}

/* Up to the next exit, but no longer than it takes to know that this is emulation. */
static bool enter(char reason[REASON_SIZE]) {
  if (!alarm_set(machine.run, 20 * SLOWEST_NS)) return says(reason, "no timer");
  machine_enter(&machine, &seen);
  alarm_stop();
  if (seen.kind == EXIT_INTERRUPTED) return says(reason, "the guest's code is emulated, thousands of times too slow");
  if (seen.kind != EXIT_BROKEN) return true;
  memcpy(reason, seen.reason, REASON_SIZE);
  return false;
}

static bool computes(uint64_t *ns, char reason[REASON_SIZE]) {
  *ns = ~0ull;
  for (unsigned i = 0; i < TRIES; i++) {
    if (i > 0 && (!machine_settle(&machine) || !machine_write(&machine, &first)))
      return says(reason, "a processor cannot be put back");
    const uint64_t began = now_ns();
    if (!enter(reason)) return false;
    const uint64_t took = now_ns() - began;
    if (took < *ns) *ns = took;
    if (seen.kind != EXIT_DOORBELL || seen.port != KERB_DOORBELL_DONE || seen.first != KERB_PROBE_DONE)
      return says_exit(reason, "ring 3 does not run");
    if (seen.second != 0 && seen.second != KERB_PROBE_SUM) return says(reason, "AVX2 computes something else");
  }
  if (*ns <= SLOWEST_NS) return true;
  return says(reason, "the guest's code is emulated, or this machine far too busy");
}

static uint64_t at(const uint8_t *label) { return KERB_GUEST_START + (uint64_t)(label - kerb_probe_start); }

static bool faults(char reason[REASON_SIZE]) {
  if (!enter(reason)) return false;
  if (seen.kind != EXIT_FAULT || seen.fault != (KERB_FAULT_EXACT | 14u << 16 | 4) || seen.address != KERB_PROBE_HOLE ||
      seen.instruction != at(kerb_probe_load))
    return says_exit(reason, "a page fault is not reported as it is");
  return true;
}

/* On a machine that has had its fault, as on a new one: the state says all. */
static bool guards_ports(char reason[REASON_SIZE]) {
  struct processor state = first;
  state.registers.rip = at(kerb_probe_port);
  if (!machine_settle(&machine) || !machine_write(&machine, &state)) return says(reason, "a processor cannot be put back");
  if (!enter(reason)) return false;
  if (seen.kind != EXIT_FAULT || seen.fault != (KERB_FAULT_EXACT | 13u << 16))
    return says_exit(reason, "the I/O permission bitmap is not obeyed");
  return true;
}

/* Nanoseconds that the guest takes to write to each of the pages. */
static bool touch(uint64_t *ns, char reason[REASON_SIZE]) {
  struct processor state = first;
  state.registers.rip = at(kerb_probe_touch);
  state.registers.rdi = KERB_PROBE_PAGES;
  state.registers.rcx = KERB_PROBE_PAGE_COUNT;
  if (!machine_settle(&machine) || !machine_write(&machine, &state)) return says(reason, "a processor cannot be put back");
  const uint64_t began = now_ns();
  if (!enter(reason)) return false;
  *ns = now_ns() - began;
  return (seen.kind == EXIT_DOORBELL && seen.first == KERB_PROBE_DONE) || says_exit(reason, "memory cannot be written");
}

/* The first look at the log has every page watched again; the last runs are without one. The best of two each. */
static bool measure_faults(char reason[REASON_SIZE]) {
  uint64_t bitmap, ns, logged = ~0ull, plain = ~0ull;
  if (!touch(&ns, reason)) return false;
  for (unsigned i = 0; i < 2; i++) {
    if (!machine_dirty(&machine, 1, &bitmap)) return says(reason, "no log of dirty pages");
    if (bitmap != (1ull << KERB_PROBE_PAGE_COUNT) - 1) return says(reason, "the log of dirty pages is not what was written");
    if (!touch(&ns, reason)) return false;
    if (ns < logged) logged = ns;
  }
  if (!machine_log(&machine, &regions[1], 1, false)) return says(reason, "the log of dirty pages cannot be ended");
  for (unsigned i = 0; i < 3; i++) {
    if (!touch(&ns, reason)) return false;
    if (ns < plain) plain = ns;
  }
  fault_ns = logged > plain ? (logged - plain) / KERB_PROBE_PAGE_COUNT + 1 : 1;
  return true;
}

uint64_t vm_fault_ns(void) { return fault_ns; }

static bool prove(char reason[REASON_SIZE]) {
  uint64_t ns;
  if (!machine_create(&machine, reason) || !machine_first_state(&machine, KERB_GUEST_START, &first, reason) ||
      !computes(&ns, reason))
    return false;
  const bool avx2 = seen.second != 0;
  if (!faults(reason) || !guards_ports(reason) || !measure_faults(reason)) return false;
  snprintf(reason, REASON_SIZE, "KVM proved itself: ring 3%s, %llu us, %llu ns for a page's first write", avx2 ? ", AVX2" : "",
           (unsigned long long)ns / 1000, (unsigned long long)fault_ns);
  return true;
}

bool vm_open(char reason[REASON_SIZE]) { return machine_open(reason); }

bool vm_prove(char reason[REASON_SIZE]) {
  uint8_t *memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED || !alarm_open()) return says(reason, "no memory or no timer for the self-test");
  memcpy(memory, kerb_probe_start, (size_t)(kerb_probe_end - kerb_probe_start));
  regions[0] = (struct region){.start = KERB_GUEST_START, .size = KERB_PAGE, .host = memory, .executable = true};
  regions[1] = (struct region){.start = KERB_PROBE_PAGES,
                               .size = KERB_PROBE_PAGE_COUNT * KERB_PAGE,
                               .host = memory + 2 * KERB_PAGE,
                               .writable = true,
                               .logged = true};
  regions[2] = (struct region){
      .start = KERB_STACK_TOP - KERB_PAGE, .size = KERB_PAGE, .host = memory + KERB_PAGE, .writable = true};
  if (!machine_prepare(&machine, regions, 3, reason)) return false;
  const bool proved = prove(reason);
  machine_release(&machine);
  munmap(memory, MEMORY);
  return proved;
}
