/* The guest's private memory as it was at one moment, and the way back to it. */
#ifndef KERBSIDE_TENDER_VM_SNAPSHOT_H
#define KERBSIDE_TENDER_VM_SNAPSHOT_H

#include "vm_machine_x86_64.h"

struct snapshot {
  struct machine *machine;
  struct region *regions;
  struct kept {
    unsigned region;
    uint8_t *copy;     /* as large as the region; only pages that are not zero were ever touched */
    uint64_t *nonzero; /* one bit for each page: it is in `copy`, otherwise it is zero */
    uint64_t *dirty;   /* what changed in the last run: KVM's log; without one, what differs from the copy */
    uint64_t *started; /* what changed in the guest's start-up, before the snapshot was taken */
  } kept[MAX_REGIONS];
  unsigned kept_count;
  uint64_t pages;    /* of all of them */
  bool logged;       /* the way that is in use */
  uint64_t held;     /* pages that were put back since the last time that all were dropped, at most; one may count twice */
  uint64_t fault_ns; /* of one write to a page that is logged, as the self-test has measured it */
  uint64_t log_ns, scan_ns, changed; /* of recent calls: reading the log, comparing all pages, pages that were changed */
};

/*
 * Decides for each kept region whether KVM logs its dirty pages, and makes room for the copies. The first snapshot is what
 * the image holds.
 */
bool snapshot_prepare(struct snapshot *snapshot, struct machine *machine, struct region *regions, unsigned count,
                      uint64_t fault_ns);
/* Takes the memory as it is now. The guest has run on it since the last snapshot or restore. */
bool snapshot_take(struct snapshot *snapshot);
/* Finds out what the run since then has changed. `pages`: how many that are, with those of the guest's start-up. */
bool snapshot_compare(struct snapshot *snapshot, uint64_t *pages);
/* Back to it after a run that ended well, and a comparison. */
bool snapshot_restore(struct snapshot *snapshot);
/* Right after one of the two ways back: decides in which way the changes of the next run are found. */
bool snapshot_choose(struct snapshot *snapshot);
/* Between two runs: gives memory back that was kept for the next one. */
bool snapshot_rest(struct snapshot *snapshot);
/* Back to it whatever happened, without asking the virtual machine. */
bool snapshot_restore_all(struct snapshot *snapshot);

#endif
