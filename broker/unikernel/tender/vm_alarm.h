/*
 * What ends the run of a virtual machine on time: a timer of this thread whose signal sets `immediate_exit`, so that a
 * signal that comes just before KVM_RUN is not lost.
 */
#ifndef KERBSIDE_TENDER_VM_ALARM_H
#define KERBSIDE_TENDER_VM_ALARM_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

/* Once, before the second filter. */
bool alarm_open(void);
/* Interrupts the run of `run` once after so long. Clears what an earlier alarm may have left. */
bool alarm_set(struct kvm_run *run, uint64_t nanoseconds);
void alarm_stop(void);

#endif
