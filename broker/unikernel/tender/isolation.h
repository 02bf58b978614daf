/*
 * How a guest is confined and its doorbells are heard: one such table for each isolation. Everything that knows of
 * processes or of KVM is behind it; loading, layout, frames and checks are in front.
 */
#ifndef KERBSIDE_TENDER_ISOLATION_H
#define KERBSIDE_TENDER_ISOLATION_H

#include <kerbside/frames.h>

#include "layout.h"

/* How one call ended, before anything that the guest said is checked. */
struct ending {
  enum { ENDING_DONE, ENDING_ABORT, ENDING_DEADLINE, ENDING_FAULT, ENDING_TENDER_BROKEN, ENDING_BROKER_GONE } kind;
  uint32_t status;      /* as the guest said it */
  uint64_t output_size; /* as the guest said it */
  uint64_t run_ns;
  uint64_t cpu_ns;
  /*
   * Bytes of the guest's own memory (data, TLS, stack, heap; whole pages) that this call has used, its start-up included. A
   * guest can give no page back, so it is the peak, too. Input and output are not in it. No guest can make it smaller than
   * its isolation says:
   *
   * `process`, kept: pages that hold something else at the end than at the start, with those of the guest's start-up.
   * `process`, for each call: pages that the kernel had to give or copy, as page faults count them. One that is read before it is first
   * written counts twice, and of the input as much as one page for each window of it that the kernel maps at a time (64 KiB
   * as a rule). Never more than there is.
   * `vm`: pages that were written, by KVM's dirty log, or pages that hold something else at the end than at the start, so that
   * one which was used and put back is not seen: the latter up to 1 MiB of memory, above that whichever is cheaper.
   */
  uint64_t memory;
  uint32_t fault; /* KERB_FAULT_EXACT or KERB_FAULT_SYNDROME and what belongs to it; 0: nothing but the signal is known */
  uint32_t signal;
  int32_t signal_code;
  uint64_t fault_address;
  uint64_t instruction;
  uint64_t stack_pointer;
  size_t log_size;
  char log[KERB_MAX_LOG];
  char reason[REASON_SIZE]; /* ENDING_TENDER_BROKEN */
};

struct isolation {
  uint32_t id; /* KERB_ISOLATION_... */
  /* Once, after layout_map and before the second filter. */
  bool (*prepare)(struct guest *guest, char reason[REASON_SIZE]);
  /* Once, after the second filter: proves on this kernel that the confinement holds up to the guest's first instruction. */
  bool (*self_test)(struct guest *guest, char reason[REASON_SIZE]);
  /* Before each call, and off its path: a guest that has run nothing yet stands ready. */
  bool (*make_ready)(struct guest *guest, char reason[REASON_SIZE]);
  /* One call, after make_ready; the info page is written. */
  void (*run)(struct guest *guest, uint64_t budget_ns, struct ending *ending);
  /* Between two calls, when none has come for a while, after layout_rest: gives back memory that was kept for it. */
  bool (*rest)(struct guest *guest);
};

/*
 * Isolation `process` in two ways: one process that is put back after each call, where this machine allows that
 * (process_may_be_kept), or a process for each call.
 */
extern const struct isolation isolation_process_kept, isolation_process_forked, isolation_vm;

/*
 * Proves by doing that this machine can run isolation `vm`: a virtual machine, ring 3 at full speed, vector registers, a
 * fault. Says what it found, either way. After the first filter; `vm_open` came before confinement.
 */
bool vm_open(char reason[REASON_SIZE]);
bool vm_prove(char reason[REASON_SIZE]);
/* What one first write to a page costs a guest whose dirty pages KVM logs; known after vm_prove. */
uint64_t vm_fault_ns(void);
/* Makes the virtual machine that the image will get, as far as that is possible before it is known. */
bool vm_stand_by(char reason[REASON_SIZE]);
/* Also without a machine; afterwards there is none to be had. */
void vm_close(void);

/* Descriptors of the tender. Those of a guest are none but KERB_LOG_FD. */
enum { LOG_READ_FD = 4, INPUT_FD = 5, OUTPUT_FD = 6, KVM_FD = 7, MEMORY_FD = 8 };

#endif
