/*
 * Setting up a virtual machine. Chapters and sections are those of the Intel SDM, volume 3; what VMX demands of a guest's
 * state on entry (27.3) is the strictest of the three that KVM runs on (VMX, SVM, PVM), so that is what is kept: segment
 * registers as if loaded from the GDT, a busy TSS, long mode active, privilege level 3 in SS and CS alike.
 */
#define _GNU_SOURCE
#include "vm_machine_x86_64.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "isolation.h"
#include "vectors.h"
#include "vm_cpuid_x86_64.h"

#define CR0 0x80010033ull /* PE MP ET NE WP PG: 2.5 */
#define CR4_PAE (1ull << 5)
#define CR4_TSD (1ull << 2) /* ring 3 may not read the time-stamp counter; PCE is clear, nor any other counter */
#define CR4_OSFXSR (1ull << 9)
#define CR4_OSXMMEXCPT (1ull << 10)
#define CR4_OSXSAVE (1ull << 18)
#define EFER 0xd00ull /* LME LMA NXE: 2.2.1. SCE is clear, so `syscall` is an invalid instruction */
#define VECTORS_PRESENT 512 /* volume 1, 13.4.2: the header, XSTATE_BV */

static size_t run_size;
static size_t vectors_room = sizeof(struct kvm_xsave); /* what KVM reads and writes of struct processor's vectors */

static bool failed(char reason[REASON_SIZE], const char *what) {
  snprintf(reason, REASON_SIZE, "KVM: %s: %s", what, strerror(errno));
  return false;
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
  /* Bytes, if it is known at all. What the guest does not get needs no room, but KVM may copy it all the same. */
  const int vectors = ioctl(KVM_FD, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);
  if (vectors > (int)vectors_room) vectors_room = (size_t)vectors;
  if (vectors_room > MAX_VECTORS) {
    snprintf(reason, REASON_SIZE, "KVM: this processor keeps %d bytes of vector state, and there is room for %d", vectors, MAX_VECTORS);
    machine_close();
    return false;
  }
  if (size < (int)sizeof(struct kvm_run) || !cpuid_read(reason)) {
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

static bool add_region(const struct machine *machine, unsigned slot) {
  const struct region *region = &machine->regions[slot];
  const uint32_t flags = !region->writable ? KVM_MEM_READONLY : region->logged ? KVM_MEM_LOG_DIRTY_PAGES : 0;
  return add_memory(machine, slot, region->start, region->size, region->host, flags);
}

bool machine_log(const struct machine *machine, struct region *region, unsigned slot, bool logged) {
  region->logged = logged;
  return add_region(machine, slot);
}

/*
 * Read-only twice: in the guest's page tables, and in KVM's view of its memory. But not the page tables, which are mapped
 * nowhere: SVM, and VMX with accessed and dirty flags in its own tables, look an entry up as if they wrote to it (AMD64 APM
 * volume 2, 15.25.6; Intel SDM volume 3, 28.3.3.2), and where KVM has them read-only it emulates each instruction instead.
 */
static bool add_memories(const struct machine *machine) {
  for (unsigned i = 0; i < machine->count; i++)
    if (!add_region(machine, i)) return false;
  const uint64_t page = SYSTEM_PAGE - SYSTEM_START, tables = SYSTEM_TABLES - SYSTEM_START;
  return add_memory(machine, MAX_REGIONS, SYSTEM_START, page, machine->system, 0) &&
         add_memory(machine, MAX_REGIONS + 1, SYSTEM_PAGE, tables - page, machine->system + page, KVM_MEM_READONLY) &&
         add_memory(machine, MAX_REGIONS + 2, SYSTEM_TABLES, machine->system_size - tables, machine->system + tables, 0);
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
  if (!cpuid_give(machine->processor)) return failed(reason, "KVM_SET_CPUID2");
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
  memset(state->vectors, 0, sizeof state->vectors);
  const uint64_t present = 3; /* x87 and SSE; all others are in their initial state */
  vectors_fill(state->vectors);
  memcpy(state->vectors + VECTORS_PRESENT, &present, sizeof present);
  state->controls = (struct kvm_xcrs){.nr_xcrs = 1, .xcrs = {{.xcr = 0, .value = cpuid_xcr0()}}};
  /* KVM, and some processors, know more of a state than they let one write; what is written is what they give back. */
  if (!machine_write(machine, state) || !machine_read(machine, state))
    return failed(reason, "a processor in ring 3");
  return true;
}

/* KVM_GET_XSAVE writes one page and no more; where a state can be larger, there is the other one. */
bool machine_read_vectors(const struct machine *machine, uint8_t vectors[MAX_VECTORS]) {
  const unsigned long request = vectors_room > sizeof(struct kvm_xsave) ? KVM_GET_XSAVE2 : KVM_GET_XSAVE;
  return ioctl(machine->processor, request, vectors) == 0;
}

bool machine_read(const struct machine *machine, struct processor *state) {
  const int fd = machine->processor;
  if (ioctl(fd, KVM_GET_REGS, &state->registers) != 0 || ioctl(fd, KVM_GET_SREGS, &state->system) != 0 ||
      !machine_read_vectors(machine, state->vectors) || ioctl(fd, KVM_GET_XCRS, &state->controls) != 0 ||
      ioctl(fd, KVM_GET_DEBUGREGS, &state->debug) != 0 || ioctl(fd, KVM_GET_VCPU_EVENTS, &state->events) != 0)
    return false;
  /* An instruction after `mov ss` is shadowed from interrupts: to be cleared even when it is not set. */
  state->events.flags |= KVM_VCPUEVENT_VALID_SHADOW;
  return true;
}

static bool write_system(int processor, struct kvm_sregs system) {
#ifdef KERB_TEST_EMULATED
  /* QEMU's software emulation looks at the I/O bitmap of a TSS only if that is not busy; KVM on SVM always reads it as busy. */
  system.tr.type = 9;
#endif
  return ioctl(processor, KVM_SET_SREGS, &system) == 0;
}

/* XCR0 before the vectors it names; events last, because the others may leave some. */
bool machine_write(const struct machine *machine, const struct processor *state) {
  const int fd = machine->processor;
  return write_system(fd, state->system) && ioctl(fd, KVM_SET_XCRS, &state->controls) == 0 &&
         ioctl(fd, KVM_SET_XSAVE, state->vectors) == 0 && ioctl(fd, KVM_SET_REGS, &state->registers) == 0 &&
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
