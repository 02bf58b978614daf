/*
 * The gate: the code in gate_x86_64.S and gate_aarch64.S, the last of ours that a call's process runs. Position
 * independent; copied to KERB_GATE.
 *
 * Its steps, by the number that it reports when the kernel refuses one: 1 and 2 unmap what lies below and above the guest,
 * 3 sets the thread pointer, 4 installs the seccomp filter, 5 waits for the call.
 */
#ifndef KERBSIDE_TENDER_GATE_H
#define KERBSIDE_TENDER_GATE_H

#include <stdint.h>

/* Entered at the start; takes one number, not zero for the self-test, and does not return. */
extern const char kerb_gate_start[], kerb_gate_end[];
/* The handler of the guest's faults. */
extern const char kerb_gate_fault[];
/* Two fields to fill in: u64, the guest's entry point, and u32, what kerb_gate_look() has found. */
extern const char kerb_gate_entry[], kerb_gate_processor[];

/* What the gate has to know of this processor and cannot ask for itself. */
uint32_t kerb_gate_look(void);

#endif
