/*
 * The gate: the code in gate_x86_64.S and gate_aarch64.S, the last of ours that a call's process runs. Position
 * independent; copied to KERB_GATE.
 *
 * Its steps, by the number that it reports when the kernel refuses one: 1 and 2 unmap what lies below and above the guest,
 * 3 sets the thread pointer, 4 installs the seccomp filter, 5 waits for the call.
 */
#ifndef KERBSIDE_TENDER_GATE_H
#define KERBSIDE_TENDER_GATE_H

#include <stdbool.h>
#include <stdint.h>

/* Entered at the start; takes one of these numbers, and does not return. */
enum gate_way {
  GATE_CALL,      /* waits for the call, and goes on to the guest's first instruction */
  GATE_SELF_TEST, /* the same, but ends where the guest would begin */
  GATE_KEPT,      /* without waiting and for another filter: ends there too, where its tracer stops it (process_kept_x86_64.c) */
};
extern const char kerb_gate_start[], kerb_gate_end[];
/* The handler of the guest's faults. */
extern const char kerb_gate_fault[];
/* To fill in: u64, the guest's entry point; and two u64, the components of the vector state and the end of their area. */
extern const char kerb_gate_entry[], kerb_gate_vectors[];

/*
 * Once, before the first fork: puts the gate in its place with all that it needs there, and directs the guest's faults to
 * it. Writes why not into `reason` (REASON_SIZE) otherwise.
 */
struct guest;
bool gate_set_up(struct guest *guest, char *reason);

#endif
