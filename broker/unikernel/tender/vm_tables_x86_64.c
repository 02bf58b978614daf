#include "vm_tables_x86_64.h"

#include <kerbside/abi.h>
#include <string.h>

/* Page-table entries (4.5). Accessed and dirty are set from the start, so that no processor ever writes to a table. */
#define PRESENT (1ull << 0)
#define WRITABLE (1ull << 1)
#define USER (1ull << 2)
#define ACCESSED (1ull << 5)
#define DIRTY (1ull << 6)
#define NO_EXECUTE (1ull << 63)
#define FRAME 0x000ffffffffff000ull
#define TABLE_ENTRIES 512

/* Addresses are below 2 GiB: one table of the fourth level, one of the third, two of the second. */
#define FIXED_TABLES 4

static unsigned page_tables_of(uint64_t start, uint64_t size, uint64_t *last) {
  unsigned count = 0;
  for (uint64_t two_mebibytes = start >> 21; two_mebibytes <= (start + size - 1) >> 21; two_mebibytes++) {
    if (two_mebibytes == *last) continue; /* regions ascend: only the one before can share a table */
    *last = two_mebibytes;
    count++;
  }
  return count;
}

uint64_t tables_size(const struct region *regions, unsigned count) {
  uint64_t last = ~0ull;
  uint64_t tables = FIXED_TABLES + page_tables_of(SYSTEM_START, SYSTEM_TABLES - SYSTEM_START, &last);
  for (unsigned i = 0; i < count; i++) tables += page_tables_of(regions[i].start, regions[i].size, &last);
  return SYSTEM_TABLES - SYSTEM_START + tables * KERB_PAGE;
}

struct builder {
  uint8_t *system;
  uint64_t used; /* bytes of the system area */
};

static uint64_t *table_at(const struct builder *builder, uint64_t guest_address) {
  return (uint64_t *)(builder->system + (guest_address - SYSTEM_START));
}

/* The table that an entry names, made on first use. The rights are decided in the last level alone. */
static uint64_t *descend(struct builder *builder, uint64_t *entry) {
  if ((*entry & PRESENT) == 0) {
    *entry = (SYSTEM_START + builder->used) | PRESENT | WRITABLE | USER | ACCESSED;
    builder->used += KERB_PAGE;
  }
  return table_at(builder, *entry & FRAME);
}

static void map(struct builder *builder, uint64_t start, uint64_t size, uint64_t rights) {
  for (uint64_t at = start; at < start + size; at += KERB_PAGE) {
    uint64_t *table = table_at(builder, SYSTEM_TABLES);
    for (int level = 4; level > 1; level--)
      table = descend(builder, &table[(at >> (12 + 9 * (level - 1))) % TABLE_ENTRIES]);
    table[(at >> 12) % TABLE_ENTRIES] = at | rights | PRESENT | ACCESSED;
  }
}

/* 3.4.5: base 0, the limit that 64-bit mode ignores, accessed. */
static uint64_t segment(unsigned type, unsigned privilege, bool code) {
  const uint64_t access = 0x90u | privilege << 5 | type;
  const uint64_t flags = code ? 0xa : 0xc; /* granularity, and either 64-bit code or a 32-bit stack */
  return 0xffff | access << 40 | 0xfull << 48 | flags << 52;
}

static void build_gdt(uint64_t *gdt) {
  const uint64_t tss = SYSTEM_PAGE + TSS_OFFSET;
  gdt[SELECTOR_KERNEL_CODE / 8] = segment(11, 0, true);
  gdt[2] = segment(3, 0, false);
  gdt[SELECTOR_USER_DATA / 8] = segment(3, 3, false);
  gdt[SELECTOR_USER_CODE / 8] = segment(11, 3, true);
  /* 7.2.3: a busy 64-bit TSS. */
  gdt[SELECTOR_TSS / 8] =
      (TSS_SIZE - 1) | (tss & 0xffffff) << 16 | 0x8bull << 40 | (tss >> 24 & 0xff) << 56;
  gdt[SELECTOR_TSS / 8 + 1] = tss >> 32;
}

/* 7.7 and, for the bitmap, volume 1, 19.5.2: a clear bit lets ring 3 use the port; ports past the limit are refused. */
static void build_tss(uint8_t *tss) {
  const uint64_t stack = SYSTEM_FAULT_STACK_TOP;
  const uint16_t bitmap = TSS_FIXED_SIZE;
  memcpy(tss + 4, &stack, sizeof stack);  /* RSP0 */
  memcpy(tss + 36, &stack, sizeof stack); /* IST1 */
  memcpy(tss + 102, &bitmap, sizeof bitmap);
  memset(tss + TSS_FIXED_SIZE, 0xff, TSS_SIZE - TSS_FIXED_SIZE);
  for (unsigned port = KERB_DOORBELL_READY; port < KERB_DOORBELL_END; port++)
    tss[TSS_FIXED_SIZE + port / 8] &= (uint8_t) ~(1u << port % 8);
}

/* 6.14.1: interrupt gates on the stack IST1. Only int3 may be asked for by ring 3, as under any operating system. */
static void build_idt(uint64_t *idt) {
  for (unsigned vector = 0; vector < 32; vector++) {
    const uint64_t stub = SYSTEM_PAGE + STUBS_OFFSET + vector * STUB_SIZE;
    const uint64_t privilege = vector == 3 ? 3 : 0;
    idt[2 * vector] = (stub & 0xffff) | (uint64_t)SELECTOR_KERNEL_CODE << 16 | 1ull << 32 | 0xeull << 40 |
                      privilege << 45 | 1ull << 47 | (stub >> 16 & 0xffff) << 48;
    idt[2 * vector + 1] = stub >> 32;
  }
}

/* Each says its vector with one `out` to the port of that number, where ring 3 cannot reach, and never goes on. */
static void build_stubs(uint8_t *stubs) {
  for (unsigned vector = 0; vector < 32; vector++) {
    const uint8_t stub[STUB_SIZE] = {0xe6, (uint8_t)vector /* out %al, $vector */, 0xeb, 0xfe /* jmp . */};
    memcpy(stubs + vector * STUB_SIZE, stub, sizeof stub);
  }
}

void tables_build(uint8_t *system, const struct region *regions, unsigned count) {
  struct builder builder = {system, SYSTEM_TABLES - SYSTEM_START + KERB_PAGE};
  uint8_t *page = system + (SYSTEM_PAGE - SYSTEM_START);
  build_gdt((uint64_t *)(page + GDT_OFFSET));
  build_idt((uint64_t *)(page + IDT_OFFSET));
  build_stubs(page + STUBS_OFFSET);
  build_tss(page + TSS_OFFSET);
  map(&builder, SYSTEM_FAULT_STACK, KERB_PAGE, WRITABLE | DIRTY | NO_EXECUTE);
  map(&builder, SYSTEM_PAGE, KERB_PAGE, 0);
  for (unsigned i = 0; i < count; i++) {
    const struct region *region = &regions[i];
    map(&builder, region->start, region->size,
        USER | (region->writable ? WRITABLE | DIRTY : 0) | (region->executable ? 0 : NO_EXECUTE));
  }
}
