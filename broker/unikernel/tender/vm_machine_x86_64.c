/*
 * Setting up a virtual machine. Chapters and sections are those of the Intel SDM, volume 3; what VMX demands of a guest's
 * state on entry (27.3) is the strictest of the three that KVM runs on (VMX, SVM, PVM), so that is what is kept: segment
 * registers as if loaded from the GDT, a busy TSS, long mode active, privilege level 3 in SS and CS alike.
 */
#define _GNU_SOURCE
#include "vm_machine_x86_64.h"

#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "isolation.h"

#define CR0 0x80010033ull /* PE MP ET NE WP PG: 2.5 */
#define CR4_PAE (1ull << 5)
#define CR4_TSD (1ull << 2) /* ring 3 may not read the time-stamp counter; PCE is clear, nor any other counter */
#define CR4_OSFXSR (1ull << 9)
#define CR4_OSXMMEXCPT (1ull << 10)
#define CR4_OSXSAVE (1ull << 18)
#define EFER 0xd00ull /* LME LMA NXE: 2.2.1. SCE is clear, so `syscall` is an invalid instruction */
#define XCR0_KNOWN 0xe7ull /* x87, SSE, AVX, AVX-512; not PKRU, not AMX: 2.6 */
#define XCR0_AVX 4ull
#define XCR0_AVX512 0xe0ull
#define VECTORS_DEFAULT_FCW 0x037f
#define VECTORS_DEFAULT_MXCSR 0x1f80

#define MAX_CPUID 256

static struct {
  struct kvm_cpuid2 header;
  struct kvm_cpuid_entry2 entries[MAX_CPUID];
} cpuid;
static uint64_t xcr0;
static size_t run_size;

static bool failed(char reason[REASON_SIZE], const char *what) {
  snprintf(reason, REASON_SIZE, "KVM: %s: %s", what, strerror(errno));
  return false;
}

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

static bool read_cpuid(char reason[REASON_SIZE]) {
  cpuid.header.nent = MAX_CPUID;
  if (ioctl(KVM_FD, KVM_GET_SUPPORTED_CPUID, &cpuid) != 0) return failed(reason, "KVM_GET_SUPPORTED_CPUID");
  const struct kvm_cpuid_entry2 *state = leaf(0xd, 0);
  unsigned a, b, c, d;
  /* OSXSAVE: the kernel below us uses it. */
  if (state == NULL || (state->eax & 3) != 3 || !__get_cpuid(1, &a, &b, &c, &d) || (c & 1u << 27) == 0) {
    snprintf(reason, REASON_SIZE, "KVM: no XSAVE here");
    return false;
  }
  xcr0 = state->eax & XCR0_KNOWN;
  if ((xcr0 & XCR0_AVX512) != XCR0_AVX512 || (xcr0 & XCR0_AVX) == 0) xcr0 &= ~XCR0_AVX512;
  limit_cpuid();
  return true;
}

bool machine_open(char reason[REASON_SIZE]) {
  static const struct {
    int extension;
    const char *name;
  } needed[] = {
      {KVM_CAP_USER_MEMORY, "user memory"},       {KVM_CAP_READONLY_MEM, "read-only memory"},
      {KVM_CAP_IMMEDIATE_EXIT, "immediate exit"}, {KVM_CAP_XSAVE, "XSAVE"},
      {KVM_CAP_XCRS, "XCR"},                      {KVM_CAP_DEBUGREGS, "debug registers"},
      {KVM_CAP_VCPU_EVENTS, "processor events"},  {KVM_CAP_SYNC_REGS, "registers in kvm_run"},
      {KVM_CAP_SET_TSS_ADDR, "KVM_SET_TSS_ADDR"},
  };
  const int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
  if (fd < 0) return failed(reason, "/dev/kvm cannot be opened");
  if (dup2(fd, KVM_FD) < 0) return failed(reason, "dup2");
  if (fd != KVM_FD) close(fd);
  const int version = ioctl(KVM_FD, KVM_GET_API_VERSION, 0);
  if (version != KVM_API_VERSION) {
    snprintf(reason, REASON_SIZE, "KVM: API version %d instead of %d", version, KVM_API_VERSION);
    machine_close();
    return false;
  }
  for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) {
    if (ioctl(KVM_FD, KVM_CHECK_EXTENSION, needed[i].extension) > 0) continue;
    snprintf(reason, REASON_SIZE, "KVM: this kernel's lacks %s", needed[i].name);
    machine_close();
    return false;
  }
  const int size = ioctl(KVM_FD, KVM_GET_VCPU_MMAP_SIZE, 0);
  if (size < (int)sizeof(struct kvm_run) || !read_cpuid(reason)) {
    if (size < (int)sizeof(struct kvm_run)) failed(reason, "KVM_GET_VCPU_MMAP_SIZE");
    machine_close();
    return false;
  }
  run_size = (size_t)size;
  return true;
}

void machine_close(void) { close(KVM_FD); }

bool machine_prepare(struct machine *machine, const struct region *regions, unsigned count, char reason[REASON_SIZE]) {
  const uint64_t size = tables_size(regions, count);
  void *system = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (system == MAP_FAILED) return failed(reason, "no memory for page tables");
  tables_build(system, regions, count);
  machine->system = system;
  machine->system_size = size;
  machine->regions = regions;
  machine->count = count;
  return true;
}

void machine_end(struct machine *machine) {
  if (machine->run != NULL) munmap(machine->run, run_size);
  if (machine->processor > 0) close(machine->processor);
  if (machine->vm > 0) close(machine->vm);
  machine->run = NULL;
  machine->processor = machine->vm = 0;
  machine->blank = false;
}

void machine_release(struct machine *machine) {
  machine_end(machine);
  munmap(machine->system, machine->system_size);
}

static bool add_memory(const struct machine *machine, unsigned slot, uint64_t start, uint64_t size, uint8_t *host,
                       uint32_t flags) {
  const struct kvm_userspace_memory_region memory = {
      .slot = slot, .flags = flags, .guest_phys_addr = start, .memory_size = size, .userspace_addr = (uintptr_t)host};
  return ioctl(machine->vm, KVM_SET_USER_MEMORY_REGION, &memory) == 0;
}

/* Read-only twice: in the guest's page tables, and in KVM's view of its memory. */
static bool add_memories(const struct machine *machine) {
  for (unsigned i = 0; i < machine->count; i++) {
    const struct region *region = &machine->regions[i];
    const uint32_t flags = !region->writable ? KVM_MEM_READONLY : region->logged ? KVM_MEM_LOG_DIRTY_PAGES : 0;
    if (!add_memory(machine, i, region->start, region->size, region->host, flags)) return false;
  }
  const uint64_t fault_stack = SYSTEM_PAGE - SYSTEM_START;
  return add_memory(machine, MAX_REGIONS, SYSTEM_START, fault_stack, machine->system, 0) &&
         add_memory(machine, MAX_REGIONS + 1, SYSTEM_PAGE, machine->system_size - fault_stack,
                    machine->system + fault_stack, KVM_MEM_READONLY);
}

bool machine_begin(struct machine *machine, char reason[REASON_SIZE]) {
  machine_end(machine);
  machine->vm = ioctl(KVM_FD, KVM_CREATE_VM, 0);
  if (machine->vm < 0) return failed(reason, "KVM_CREATE_VM");
  /* Three pages that VMX may need for itself; far from the guest's, which lie below 2 GiB. */
  if (ioctl(machine->vm, KVM_SET_TSS_ADDR, 0xfffbd000ul) != 0) return failed(reason, "KVM_SET_TSS_ADDR");
  machine->processor = ioctl(machine->vm, KVM_CREATE_VCPU, 0);
  if (machine->processor < 0) return failed(reason, "KVM_CREATE_VCPU");
  void *run = mmap(NULL, run_size, PROT_READ | PROT_WRITE, MAP_SHARED, machine->processor, 0);
  if (run == MAP_FAILED) return failed(reason, "mmap of kvm_run");
  machine->run = run;
  machine->run->kvm_valid_regs = KVM_SYNC_X86_REGS;
  if (ioctl(machine->processor, KVM_SET_CPUID2, &cpuid) != 0) return failed(reason, "KVM_SET_CPUID2");
  machine->blank = true;
  return true;
}

bool machine_create(struct machine *machine, char reason[REASON_SIZE]) {
  if (!machine->blank && !machine_begin(machine, reason)) return false;
  memset(machine->system, 0, KERB_PAGE); /* the fault stack */
  machine->blank = false;
  return add_memories(machine) || failed(reason, "KVM_SET_USER_MEMORY_REGION");
}

/* As loaded from the GDT of vm_tables_x86_64.c: base 0, limit 4 GiB, accessed (27.3.1.2). */
static struct kvm_segment flat(uint16_t selector, uint8_t type, bool code) {
  return (struct kvm_segment){
      .limit = 0xffffffff,
      .selector = selector,
      .type = type,
      .present = 1,
      .dpl = 3,
      .db = !code,
      .s = 1,
      .l = code,
      .g = 1,
  };
}

static void set_system(struct kvm_sregs *system) {
  const struct kvm_segment data = flat(SELECTOR_USER_DATA, 3, false);
  system->cs = flat(SELECTOR_USER_CODE, 11, true);
  system->ss = system->ds = system->es = system->fs = system->gs = data;
  system->fs.base = KERB_THREAD_POINTER;
  system->tr = (struct kvm_segment){.base = SYSTEM_PAGE + TSS_OFFSET,
                                    .limit = TSS_SIZE - 1,
                                    .selector = SELECTOR_TSS,
                                    .type = 11,
                                    .present = 1};
  system->ldt = (struct kvm_segment){.unusable = 1, .type = 2};
  system->gdt = (struct kvm_dtable){.base = SYSTEM_PAGE + GDT_OFFSET, .limit = GDT_SIZE - 1};
  system->idt = (struct kvm_dtable){.base = SYSTEM_PAGE + IDT_OFFSET, .limit = IDT_SIZE - 1};
  system->cr0 = CR0;
  system->cr2 = 0;
  system->cr3 = SYSTEM_TABLES;
  system->cr4 = CR4_PAE | CR4_TSD | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
  system->efer = EFER;
}

bool machine_first_state(struct machine *machine, uint64_t entry, struct processor *state, char reason[REASON_SIZE]) {
  memset(state, 0, sizeof *state);
  /* What reset gives is the basis: the base of the APIC and such are not ours to choose. */
  if (!machine_read(machine, state)) return failed(reason, "the first state of a processor");
  set_system(&state->system);
  state->registers = (struct kvm_regs){.rip = entry, .rsp = KERB_STACK_TOP, .rdi = KERB_INFO, .rflags = 2};
  memset(&state->vectors, 0, sizeof state->vectors);
  /* Volume 1, 13.4: control word at 0, MXCSR at 24; the header's bit map at 512 says what is not in its initial state. */
  const uint16_t fcw = VECTORS_DEFAULT_FCW;
  const uint32_t mxcsr = VECTORS_DEFAULT_MXCSR;
  const uint64_t present = 3;
  memcpy((char *)&state->vectors, &fcw, sizeof fcw);
  memcpy((char *)&state->vectors + 24, &mxcsr, sizeof mxcsr);
  memcpy((char *)&state->vectors + 512, &present, sizeof present);
  state->controls = (struct kvm_xcrs){.nr_xcrs = 1, .xcrs = {{.xcr = 0, .value = xcr0}}};
  /* KVM, and some processors, know more of a state than they let one write; what is written is what they give back. */
  if (!machine_write(machine, state) || !machine_read(machine, state))
    return failed(reason, "a processor in ring 3");
  return true;
}

bool machine_read(const struct machine *machine, struct processor *state) {
  const int fd = machine->processor;
  if (ioctl(fd, KVM_GET_REGS, &state->registers) != 0 || ioctl(fd, KVM_GET_SREGS, &state->system) != 0 ||
      ioctl(fd, KVM_GET_XSAVE, &state->vectors) != 0 || ioctl(fd, KVM_GET_XCRS, &state->controls) != 0 ||
      ioctl(fd, KVM_GET_DEBUGREGS, &state->debug) != 0 || ioctl(fd, KVM_GET_VCPU_EVENTS, &state->events) != 0)
    return false;
  /* An instruction after `mov ss` is shadowed from interrupts: to be cleared even when it is not set. */
  state->events.flags |= KVM_VCPUEVENT_VALID_SHADOW;
  return true;
}

/* XCR0 before the vectors it names; events last, because the others may leave some. */
bool machine_write(const struct machine *machine, const struct processor *state) {
  const int fd = machine->processor;
  return ioctl(fd, KVM_SET_SREGS, &state->system) == 0 && ioctl(fd, KVM_SET_XCRS, &state->controls) == 0 &&
         ioctl(fd, KVM_SET_XSAVE, &state->vectors) == 0 && ioctl(fd, KVM_SET_REGS, &state->registers) == 0 &&
         ioctl(fd, KVM_SET_DEBUGREGS, &state->debug) == 0 && ioctl(fd, KVM_SET_VCPU_EVENTS, &state->events) == 0;
}

bool machine_settle(const struct machine *machine) {
  machine->run->immediate_exit = 1;
  const int result = ioctl(machine->processor, KVM_RUN, 0);
  const bool settled = result < 0 && errno == EINTR;
  machine->run->immediate_exit = 0;
  return settled;
}

bool machine_dirty(const struct machine *machine, unsigned region, uint64_t *bitmap) {
  const struct kvm_dirty_log log = {.slot = region, .dirty_bitmap = bitmap};
  return ioctl(machine->vm, KVM_GET_DIRTY_LOG, &log) == 0;
}
