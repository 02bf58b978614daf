/* What a guest in a virtual machine sees of its processor: an allow-list. */
#ifndef KERBSIDE_TENDER_VM_CPUID_H
#define KERBSIDE_TENDER_VM_CPUID_H

#include <stdbool.h>
#include <stdint.h>

#include "image.h"

/* Once, when /dev/kvm is open: decides it. */
bool cpuid_read(char reason[REASON_SIZE]);
/* The vector state that a guest gets. */
uint64_t cpuid_xcr0(void);
bool cpuid_give(int processor);

#endif
