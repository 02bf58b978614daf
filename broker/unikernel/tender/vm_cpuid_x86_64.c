#define _GNU_SOURCE
#include "vm_cpuid_x86_64.h"

#include <cpuid.h>
#include <errno.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "isolation.h"
#include "vectors.h"

#define XCR0_KNOWN 0xe7ull /* x87, SSE, AVX, AVX-512; not PKRU, not AMX: 2.6 */
#define XCR0_AVX 4ull
#define XCR0_AVX512 0xe0ull

#define MAX_CPUID 256

static struct {
  struct kvm_cpuid2 header;
  struct kvm_cpuid_entry2 entries[MAX_CPUID];
} cpuid;
static uint64_t xcr0;

uint64_t cpuid_xcr0(void) { return xcr0; }

bool cpuid_give(int processor) { return ioctl(processor, KVM_SET_CPUID2, &cpuid) == 0; }

static struct kvm_cpuid_entry2 *leaf(uint32_t function, uint32_t index) {
  for (unsigned i = 0; i < cpuid.header.nent; i++)
    if (cpuid.entries[i].function == function && cpuid.entries[i].index == index) return &cpuid.entries[i];
  return NULL;
}

/* The features of leaf 1, 7 and 0x80000001 that ring 3 can use: arithmetic, vectors, cache lines. */
#define LEAF_1_ECX                                                                                      \
  (1u << 0 | 1u << 1 | 1u << 9 | 1u << 12 | 1u << 13 | 1u << 19 | 1u << 20 | 1u << 22 | 1u << 23 | 1u << 25 | \
   1u << 26 | 1u << 27 | 1u << 28 | 1u << 29)
#define LEAF_1_EDX 0x0788a179u
#define LEAF_7_EBX                                                                                            \
  (1u << 3 | 1u << 5 | 1u << 8 | 1u << 9 | 1u << 16 | 1u << 17 | 1u << 19 | 1u << 21 | 1u << 23 | 1u << 24 |  \
   1u << 28 | 1u << 29 | 1u << 30 | 1u << 31)
#define LEAF_7_ECX (1u << 1 | 1u << 6 | 1u << 8 | 1u << 9 | 1u << 10 | 1u << 11 | 1u << 12 | 1u << 14)
#define LEAF_7_EDX (1u << 4)

#define LEAF_80000001_ECX (1u << 0 | 1u << 5 | 1u << 6 | 1u << 7 | 1u << 8)
#define LEAF_80000001_EDX (1u << 20 | 1u << 26 | 1u << 27 | 1u << 29) /* NX, 1 GiB pages, RDTSCP, long mode */

/* What needs vector state that XCR0 may not have. */
#define LEAF_1_ECX_AVX (1u << 12 | 1u << 28 | 1u << 29)
#define LEAF_7_EBX_AVX (1u << 5)
#define LEAF_7_ECX_AVX (1u << 9 | 1u << 10)
#define LEAF_7_EBX_AVX512 (1u << 16 | 1u << 17 | 1u << 21 | 1u << 28 | 1u << 30 | 1u << 31)
#define LEAF_7_ECX_AVX512 (1u << 1 | 1u << 6 | 1u << 11 | 1u << 12 | 1u << 14)

/*
 * CPUID is an allow-list: what it does not name, the guest does not see (brand, caches, topology, the hypervisor), and
 * what needs a bit in CR4 or a register that a call could change is not there at all (PKU, FSGSBASE, AMX, MPX, CET).
 *
 * Of what it names, a guest sees what this process sees, so that code which chooses by CPUID chooses the same in both
 * isolations. These are instructions that no hypervisor can take from ring 3, so KVM's own list, which some builds of it
 * leave half empty, is not asked. RDRAND and RDSEED are hidden, so that a library takes its randomness from the info page
 * alone: VMX makes them invalid instructions then, SVM and PVM cannot. RDTSCP stays, so that it is refused as RDTSC is, by
 * CR4.TSD, everywhere.
 */
static void set_features(void) {
  struct kvm_cpuid_entry2 *entry;
  unsigned a, b, c, d;
  if ((entry = leaf(1, 0)) != NULL && __get_cpuid(1, &a, &b, &c, &d)) {
    entry->ebx = b & 0x0000ff00; /* cache line size; not which processor this is */
    entry->ecx = c & LEAF_1_ECX & ~((xcr0 & XCR0_AVX) == 0 ? LEAF_1_ECX_AVX : 0);
    entry->edx = d & LEAF_1_EDX;
  }
  if ((entry = leaf(7, 0)) != NULL && __get_cpuid_count(7, 0, &a, &b, &c, &d)) {
    entry->eax = 0;
    entry->ebx = b & LEAF_7_EBX;
    entry->ecx = c & LEAF_7_ECX;
    entry->edx = d & LEAF_7_EDX;
    if ((xcr0 & XCR0_AVX) == 0) entry->ebx &= ~LEAF_7_EBX_AVX, entry->ecx &= ~LEAF_7_ECX_AVX;
    if ((xcr0 & XCR0_AVX512) == 0) entry->ebx &= ~LEAF_7_EBX_AVX512, entry->ecx &= ~LEAF_7_ECX_AVX512;
  }
  if ((entry = leaf(0x80000001, 0)) != NULL && __get_cpuid(0x80000001, &a, &b, &c, &d)) {
    entry->eax = entry->ebx = 0;
    entry->ecx = c & LEAF_80000001_ECX;
    entry->edx = d & LEAF_80000001_EDX;
  }
}

static void limit_cpuid(void) {
  static const uint32_t kept[] = {0, 1, 7, 0xd, 0x80000000, 0x80000001, 0x80000008};
  unsigned count = 0;
  for (unsigned i = 0; i < cpuid.header.nent; i++) {
    const struct kvm_cpuid_entry2 entry = cpuid.entries[i];
    bool keep = false;
    for (size_t j = 0; j < sizeof kept / sizeof *kept; j++) keep = keep || entry.function == kept[j];
    if (!keep || (entry.function == 7 && entry.index != 0)) continue;
    if (entry.function == 0xd && entry.index > 1 && (entry.index > 63 || (xcr0 >> entry.index & 1) == 0)) continue;
    cpuid.entries[count++] = entry;
  }
  cpuid.header.nent = count;
  struct kvm_cpuid_entry2 *entry;
  if ((entry = leaf(0, 0)) != NULL) entry->eax = 0xd;
  if ((entry = leaf(0xd, 0)) != NULL) {
    entry->eax = (uint32_t)xcr0;
    entry->ebx = entry->ecx = (uint32_t)vectors_size(vectors_cpuid, xcr0);
    entry->edx = 0;
  }
  if ((entry = leaf(0xd, 1)) != NULL) {
    entry->eax &= 7; /* XSAVEOPT, XSAVEC, XGETBV with ECX = 1; not XSAVES */
    entry->ecx = entry->edx = 0;
  }
  if ((entry = leaf(0x80000000, 0)) != NULL) entry->eax = 0x80000008;
  if ((entry = leaf(0x80000008, 0)) != NULL) entry->ebx = entry->ecx = entry->edx = 0;
  set_features();
}

bool cpuid_read(char reason[REASON_SIZE]) {
  cpuid.header.nent = MAX_CPUID;
  if (ioctl(KVM_FD, KVM_GET_SUPPORTED_CPUID, &cpuid) != 0) {
    snprintf(reason, REASON_SIZE, "KVM: KVM_GET_SUPPORTED_CPUID: %s", strerror(errno));
    return false;
  }
  const struct kvm_cpuid_entry2 *state = leaf(0xd, 0);
  if (state == NULL || (state->eax & 3) != 3 || vectors_xcr0() == 0) { /* XSAVE, and a kernel that uses it */
    snprintf(reason, REASON_SIZE, "KVM: no XSAVE here");
    return false;
  }
  xcr0 = state->eax & XCR0_KNOWN;
  if ((xcr0 & XCR0_AVX512) != XCR0_AVX512 || (xcr0 & XCR0_AVX) == 0) xcr0 &= ~XCR0_AVX512;
  limit_cpuid();
  return true;
}
