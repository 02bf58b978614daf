/*
 * What the processor reads before it runs a guest in a virtual machine: page tables, segment descriptors, interrupt gates,
 * the I/O permission bitmap. Pure: regions in, pages out. Section numbers are those of the Intel SDM, volume 3.
 */
#ifndef KERBSIDE_TENDER_VM_TABLES_H
#define KERBSIDE_TENDER_VM_TABLES_H

#include <stdbool.h>
#include <stdint.h>

/*
 * One range of guest memory: whole pages, guest-virtual equal to guest-physical, backed by `host`. A region is written by
 * the guest or executed by it or neither, never both.
 */
struct region {
  uint64_t start;
  uint64_t size;
  uint8_t *host;
  uint64_t loaded; /* bytes at the start that came from the image; the rest starts as zero */
  bool writable;
  bool executable;
  bool kept; /* private to this tender: restored from the snapshot. The others are exchanged with the broker */
  bool logged; /* KVM keeps a log of its dirty pages */
};

#define MAX_REGIONS 24

/*
 * The system area, at the same guest address for every image. Its first page is the fault stack, the second holds GDT,
 * IDT, TSS and fault stubs; both are mapped for the supervisor only. Behind them lie the page tables, which are mapped
 * nowhere. The guest, in ring 3, reaches none of it.
 */
#define SYSTEM_START 0x40000000ull
#define SYSTEM_FAULT_STACK SYSTEM_START
#define SYSTEM_FAULT_STACK_TOP (SYSTEM_START + 0x1000)
#define SYSTEM_PAGE (SYSTEM_START + 0x1000)
#define SYSTEM_TABLES (SYSTEM_START + 0x2000)

#define GDT_OFFSET 0x000
#define GDT_SIZE 0x38
#define IDT_OFFSET 0x100
#define IDT_SIZE (32 * 16)
#define STUBS_OFFSET 0x400
#define STUB_SIZE 4
#define TSS_OFFSET 0x800
#define TSS_FIXED_SIZE 104
#define TSS_SIZE (TSS_FIXED_SIZE + 0x508 / 8 + 1)

#define SELECTOR_KERNEL_CODE 0x08
#define SELECTOR_USER_DATA 0x1b
#define SELECTOR_USER_CODE 0x23
#define SELECTOR_TSS 0x28

/* Bytes of system area that these regions need. */
uint64_t tables_size(const struct region *regions, unsigned count);
/* Fills the system area, which is zero. */
void tables_build(uint8_t *system, const struct region *regions, unsigned count);

#endif
