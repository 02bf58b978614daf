/* One virtual machine with one processor, entered in ring 3: all that is said to KVM is said here. */
#ifndef KERBSIDE_TENDER_VM_MACHINE_H
#define KERBSIDE_TENDER_VM_MACHINE_H

#include <linux/kvm.h>
#include <stddef.h>

#include "image.h"
#include "vm_tables_x86_64.h"

/* Room for the vector state in KVM's form, which is a page on most processors. */
#define MAX_VECTORS 0x8000

/* Everything about a processor that could outlive a call. */
struct processor {
  struct kvm_regs registers;
  struct kvm_sregs system;
  uint8_t vectors[MAX_VECTORS];
  struct kvm_xcrs controls;
  struct kvm_debugregs debug;
  struct kvm_vcpu_events events;
};

struct machine {
  int vm;        /* 0: none. Descriptor 0 is the log */
  int processor; /* 0: none */
  bool blank;    /* it has no memory yet */
  struct kvm_run *run;
  uint8_t *system; /* the system area, in this process */
  uint64_t system_size;
  const struct region *regions;
  unsigned count;
};

/* Opens /dev/kvm as KVM_FD. Before confinement: afterwards there is no /dev. */
bool machine_open(char reason[REASON_SIZE]);
void machine_close(void);

/* A virtual machine with a processor and no memory; the one that was there is ended. */
bool machine_begin(struct machine *machine, char reason[REASON_SIZE]);

/* Once for these regions: builds the system area. */
bool machine_prepare(struct machine *machine, const struct region *regions, unsigned count, char reason[REASON_SIZE]);
void machine_release(struct machine *machine);

/* A new virtual machine, or the blank one, on the prepared regions. Their memory is not touched. */
bool machine_create(struct machine *machine, char reason[REASON_SIZE]);
void machine_end(struct machine *machine);

/* A processor of `machine` as a guest finds it first: at its entry point, and nothing in any register. */
bool machine_first_state(struct machine *machine, uint64_t entry, struct processor *state, char reason[REASON_SIZE]);
bool machine_read_vectors(const struct machine *machine, uint8_t vectors[MAX_VECTORS]);
bool machine_read(const struct machine *machine, struct processor *state);
bool machine_write(const struct machine *machine, const struct processor *state);

/*
 * After an exit that KVM has not finished (an `out` is finished on the next entry): does that, without running the guest.
 * Without it a state that is written now would be changed again on entry.
 */
bool machine_settle(const struct machine *machine);

/* Whether KVM logs the dirty pages of this region, from now on; its memory is as it is to be. */
bool machine_log(const struct machine *machine, struct region *region, unsigned slot, bool logged);
/* The dirty pages of a logged region since the last time, one bit for each page. */
bool machine_dirty(const struct machine *machine, unsigned region, uint64_t *bitmap);

#endif
