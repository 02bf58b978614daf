/*
 * Isolation `vm`. The guest runs in ring 3 of a virtual machine that has its memory and nothing else: no firmware, no
 * device, no second processor. Its start-up runs once, up to `ready`; every call goes on from there, in memory and
 * registers that are put back after each call, whatever its end was: every register, and every page that KVM, not the
 * guest, says has changed. A new machine costs some milliseconds, more where processors are busy, which the next call would
 * wait for. It is made where the old one left what is known: an exit that is neither doorbell nor reported fault.
 *
 * What has changed is found out before the answer, because the answer says how much that was: 10 microseconds for a small
 * task, 35 at most for a mebibyte. Putting it back comes after the answer.
 *
 * An image whose start-up never gets to `ready` is no trouble: each call then starts at the entry point and meets the same
 * end itself, as it does in isolation `process`.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "isolation.h"
#include "vm_alarm.h"
#include "vm_exit_x86_64.h"
#include "vm_snapshot.h"
#include "wire.h"

#define STARTUP_BUDGET_NS 1000000000
/* How long a run goes on before this thread looks whether the broker is still there. */
#define LOOK_NS 10000000

static struct region regions[MAX_REGIONS];
static unsigned region_count;
static struct machine machine;
static struct snapshot snapshot;
static struct processor start; /* where every call starts */
/* The last run ended at a doorbell, in a stub or between two instructions: machine and memory can be put back. */
static bool orderly;
static char startup_log[KERB_MAX_LOG];
static size_t startup_log_size;

static uint64_t clock_ns(clockid_t clock) {
  struct timespec now;
  syscall(SYS_clock_gettime, clock, &now); /* not the vDSO: see layout_begin */
  return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void add_region(uint64_t first, uint64_t size, uint64_t loaded, bool writable, bool executable, bool kept) {
  if (size == 0) return;
  regions[region_count++] = (struct region){
      .start = first,
      .size = size,
      .host = layout_memory((struct guest_address){first}),
      .loaded = loaded,
      .writable = writable,
      .executable = executable,
      .kept = kept,
  };
}

/* In ascending order. */
static void list_regions(const struct guest *guest) {
  const struct image *image = &guest->image;
  const uint64_t tls_pages = page_up(image->tls_size);
  for (unsigned i = 0; i < image->segment_count; i++) {
    const struct segment *segment = &image->segments[i];
    const uint64_t first = page_down(segment->start.value);
    add_region(first, page_up(segment->start.value + segment->memory_size) - first,
               segment->start.value + segment->file_size - first, segment->writable, segment->executable,
               segment->writable);
  }
  add_region(image->heap.value, image->heap_size, 0, true, false, true);
  add_region(KERB_STACK_START, KERB_STACK_SIZE, 0, true, false, true);
  add_region(KERB_THREAD_POINTER - tls_pages, tls_pages + KERB_PAGE, 0, true, false, true);
  add_region(KERB_INFO, KERB_PAGE, 0, false, false, false);
  add_region(KERB_INPUT, guest->input_pages, 0, false, false, false);
  add_region(KERB_OUTPUT, guest->output_pages, 0, true, false, false);
}

_Static_assert(MAX_SEGMENTS + 6 <= MAX_REGIONS, "every image fits");

bool vm_stand_by(char reason[REASON_SIZE]) { return machine_begin(&machine, reason); }

void vm_close(void) {
  machine_end(&machine);
  machine_close();
}

static bool prepare(struct guest *guest, char reason[REASON_SIZE]) {
  list_regions(guest);
  if (!machine_prepare(&machine, regions, region_count, reason)) return false;
  if (snapshot_prepare(&snapshot, &machine, regions, region_count, vm_fault_ns())) return true;
  snprintf(reason, REASON_SIZE, "cannot set up isolation `vm`: %s", strerror(errno));
  return false;
}

/* What of a log does not fit is dropped, line by line. A range that is not the guest's is no text of it. */
static void keep_log(uint64_t address, uint64_t size, struct ending *ending) {
  uint64_t end;
  if (__builtin_add_overflow(address, size, &end) || size > KERB_MAX_LOG - ending->log_size) return;
  for (unsigned i = 0; i < region_count; i++) {
    const struct region *region = &regions[i];
    if (address < region->start || end > region->start + region->size) continue;
    memcpy(ending->log + ending->log_size, region->host + (address - region->start), size);
    ending->log_size += size;
    return;
  }
}

static void keep_fault(const struct vm_exit *exit, struct ending *ending) {
  ending->kind = ENDING_FAULT;
  ending->fault = exit->fault;
  ending->signal = exit->signal;
  ending->signal_code = exit->signal_code;
  ending->fault_address = exit->address;
  ending->instruction = exit->instruction;
  ending->stack_pointer = exit->stack_pointer;
}

/* True when the run is over; a log, and a `ready`, are not its end. */
static bool hear(const struct vm_exit *exit, struct ending *ending) {
  switch (exit->port) {
    case KERB_DOORBELL_DONE:
      ending->kind = ENDING_DONE;
      ending->status = (uint32_t)exit->first;
      ending->output_size = exit->second;
      return true;
    case KERB_DOORBELL_ABORT:
      ending->kind = ENDING_ABORT;
      ending->status = (uint32_t)exit->first;
      return true;
    case KERB_DOORBELL_LOG:
      keep_log(exit->first, exit->second, ending);
      return false;
    default:
      return false;
  }
}

/* Runs to the end of a call, at the latest until the budget has run out; or, in start-up, to `ready`: then true. */
static bool go(uint64_t began, uint64_t budget_ns, bool until_ready, struct ending *ending) {
  static struct vm_exit exit;
  uint64_t used = 0;
  do {
    const uint64_t left = budget_ns - used;
    if (!alarm_set(machine.run, left < LOOK_NS ? left : LOOK_NS)) {
      ending->kind = ENDING_TENDER_BROKEN;
      snprintf(ending->reason, sizeof ending->reason, "timer_settime: %s", strerror(errno));
      return false;
    }
    for (;;) {
      machine_enter(&machine, &exit);
      if (exit.kind == EXIT_DOORBELL) {
        if (until_ready && exit.port == KERB_DOORBELL_READY) return true;
        if (hear(&exit, ending)) return false;
      } else if (exit.kind == EXIT_FAULT) {
        keep_fault(&exit, ending);
        return false;
      } else if (exit.kind == EXIT_BROKEN) {
        ending->kind = ENDING_TENDER_BROKEN;
        memcpy(ending->reason, exit.reason, sizeof ending->reason);
        return false;
      } else if (machine.run->immediate_exit) {
        break;
      }
    }
    used = clock_ns(CLOCK_MONOTONIC) - began;
    if (used < budget_ns && broker_gone()) {
      ending->kind = ENDING_BROKER_GONE;
      return false;
    }
  } while (used < budget_ns);
  ending->kind = ENDING_DEADLINE;
  return false;
}

static void run(struct guest *guest, uint64_t budget_ns, struct ending *ending) {
  (void)guest;
  memset(ending, 0, offsetof(struct ending, log));
  memcpy(ending->log, startup_log, startup_log_size);
  ending->log_size = startup_log_size;
  const uint64_t began = clock_ns(CLOCK_MONOTONIC), cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
  go(began, budget_ns, false, ending);
  alarm_stop();
  ending->run_ns = clock_ns(CLOCK_MONOTONIC) - began;
  ending->cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu;
  uint64_t pages;
  const bool compared = snapshot_compare(&snapshot, &pages);
  ending->memory = compared ? pages * KERB_PAGE : 0;
  orderly = compared && (ending->kind == ENDING_DONE || ending->kind == ENDING_ABORT ||
                         ending->kind == ENDING_DEADLINE || (ending->kind == ENDING_FAULT && ending->fault != 0));
}

static bool put_back(void) {
  memset(machine.system, 0, KERB_PAGE); /* the fault stack */
  return machine_settle(&machine) && snapshot_restore(&snapshot) && snapshot_choose(&snapshot) && machine_write(&machine, &start);
}

static bool make_ready(struct guest *guest, char reason[REASON_SIZE]) {
  (void)guest;
  if (orderly && put_back()) return true;
  orderly = false;
  if (!machine_create(&machine, reason)) return false;
  if (snapshot_restore_all(&snapshot) && machine_write(&machine, &start)) return true;
  snprintf(reason, REASON_SIZE, "cannot restore the guest: %s", strerror(errno));
  return false;
}

/* The first machine of an image: through its start-up once, and what is there then is where calls start. */
static bool self_test(struct guest *guest, char reason[REASON_SIZE]) {
  static struct ending ending;
  if (!machine_create(&machine, reason) || !machine_first_state(&machine, guest->image.entry.value, &start, reason))
    return false;
  layout_begin(guest, KERB_ISOLATION_VM, 0);
  memset(&ending, 0, offsetof(struct ending, log));
  const bool ready = go(clock_ns(CLOCK_MONOTONIC), STARTUP_BUDGET_NS, true, &ending);
  alarm_stop();
  if (ready) {
    if (!machine_settle(&machine) || !machine_read(&machine, &start) || !snapshot_take(&snapshot)) {
      snprintf(reason, REASON_SIZE, "cannot take the snapshot: %s", strerror(errno));
      return false;
    }
    memcpy(startup_log, ending.log, startup_log_size = ending.log_size);
  }
  orderly = ready;
  if (ending.kind != ENDING_TENDER_BROKEN) return true;
  memcpy(reason, ending.reason, REASON_SIZE);
  return false;
}

static bool rest(struct guest *guest) {
  (void)guest;
  return snapshot_rest(&snapshot);
}

const struct isolation isolation_vm = {
    .id = KERB_ISOLATION_VM,
    .prepare = prepare,
    .self_test = self_test,
    .make_ready = make_ready,
    .run = run,
    .rest = rest,
};
