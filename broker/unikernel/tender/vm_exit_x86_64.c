/*
 * Reading an exit. A fault of the guest goes through the interrupt table to a stub that says its vector on a port below
 * 32; ring 3 cannot write to those, so such an exit is the processor's own word, as is the frame on the fault stack.
 *
 * Faults are reported as Linux would report them to a process (signal, si_code), so that a task's author reads the same
 * words whatever the isolation; the vector and its error code go along.
 */
#define _GNU_SOURCE
#include "vm_exit_x86_64.h"

#include <errno.h>
#include <kerbside/frames.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#define SI_KERNEL_CODE 0x80
#define VECTORS 32
#define FSW_OFFSET 2
#define MXCSR_OFFSET 24

enum { DE = 0, DB = 1, BP = 3, UD = 6, DF = 8, TS = 10, NP = 11, SS = 12, GP = 13, PF = 14, MF = 16, AC = 17, XM = 19 };

/* Vectors that push an error code: Intel SDM, volume 3, table 6-1. */
static bool has_error_code(unsigned vector) {
  return vector == DF || (vector >= TS && vector <= PF) || vector == AC || vector == 21;
}

/* si_code of a floating-point fault, from the exceptions that are flagged and not masked (Linux: fpu__exception_code). */
static int32_t float_code(unsigned flags) {
  if ((flags & 0x01) != 0) return FPE_FLTINV;
  if ((flags & 0x04) != 0) return FPE_FLTDIV;
  if ((flags & 0x08) != 0) return FPE_FLTOVF;
  if ((flags & 0x12) != 0) return FPE_FLTUND;
  if ((flags & 0x20) != 0) return FPE_FLTRES;
  return 0;
}

static int32_t float_fault(const struct machine *machine, unsigned vector) {
  static uint8_t vectors[MAX_VECTORS];
  uint16_t control, status;
  uint32_t mxcsr;
  if (!machine_read_vectors(machine, vectors)) return 0;
  memcpy(&control, vectors, sizeof control);
  memcpy(&status, vectors + FSW_OFFSET, sizeof status);
  memcpy(&mxcsr, vectors + MXCSR_OFFSET, sizeof mxcsr);
  return float_code(vector == MF ? status & ~control : mxcsr & ~(mxcsr >> 7));
}

static void name_signal(const struct machine *machine, unsigned vector, uint64_t error, struct vm_exit *exit) {
  struct kvm_sregs system;
  exit->signal = SIGSEGV;
  exit->signal_code = SI_KERNEL_CODE;
  switch (vector) {
    case DE:
      exit->signal = SIGFPE;
      exit->signal_code = FPE_INTDIV;
      break;
    case DB:
      exit->signal = SIGTRAP;
      exit->signal_code = TRAP_TRACE;
      break;
    case BP:
      exit->signal = SIGTRAP;
      break;
    case UD:
      exit->signal = SIGILL;
      exit->signal_code = ILL_ILLOPN;
      break;
    case NP:
    case SS:
    case AC:
      exit->signal = SIGBUS;
      break;
    case PF:
      exit->signal_code = (error & 1) != 0 ? SEGV_ACCERR : SEGV_MAPERR;
      if (ioctl(machine->processor, KVM_GET_SREGS, &system) == 0) exit->address = system.cr2;
      break;
    case MF:
    case XM:
      exit->signal = SIGFPE;
      exit->signal_code = float_fault(machine, vector);
      break;
    default:
      break;
  }
}

/* Whether the guest's memory holds these two bytes there. */
static bool holds(const struct machine *machine, uint64_t address, uint8_t first, uint8_t second) {
  for (unsigned i = 0; i < machine->count; i++) {
    const struct region *region = &machine->regions[i];
    if (address < region->start || address - region->start >= region->size - 1) continue;
    const uint8_t *at = region->host + (address - region->start);
    return at[0] == first && at[1] == second;
  }
  return false;
}

/* `syscall` is an invalid instruction here, and `int $0x80` has no gate: both as what they were meant to be. */
static void name_system_call(const struct machine *machine, unsigned vector, struct vm_exit *exit) {
  if (!(vector == UD && holds(machine, exit->instruction, 0x0f, 0x05)) &&
      !(vector == GP && holds(machine, exit->instruction, 0xcd, 0x80)))
    return;
  exit->signal = SIGSYS;
  exit->signal_code = SYS_SECCOMP;
  exit->address = (uint64_t)(int64_t)(int32_t)machine->run->s.regs.regs.rax;
}

/* 6.14.2: SS, RSP, RFLAGS, CS, RIP and, for some, an error code, from the top of the fault stack down. */
static void read_fault(const struct machine *machine, unsigned vector, struct vm_exit *exit) {
  const uint64_t *top = (const uint64_t *)(machine->system + (SYSTEM_FAULT_STACK_TOP - SYSTEM_START));
  const uint64_t error = has_error_code(vector) ? top[-6] : 0;
  exit->kind = EXIT_FAULT;
  exit->fault = KERB_FAULT_EXACT | vector << 16 | (uint32_t)(error & 0xffff);
  exit->instruction = top[-5];
  exit->stack_pointer = top[-2];
  name_signal(machine, vector, error, exit);
  name_system_call(machine, vector, exit);
}

/* A fault that did not come through a stub, so with no more than where the guest stands. */
static void plain_fault(const struct machine *machine, uint32_t signal, int32_t code, struct vm_exit *exit) {
  exit->kind = EXIT_FAULT;
  exit->signal = signal;
  exit->signal_code = code;
  exit->instruction = machine->run->s.regs.regs.rip;
  exit->stack_pointer = machine->run->s.regs.regs.rsp;
}

static void read_port(const struct machine *machine, struct vm_exit *exit) {
  const struct kvm_run *run = machine->run;
  const bool plain = run->io.direction == KVM_EXIT_IO_OUT && run->io.size == 1 && run->io.count == 1;
  if (plain && run->io.port < VECTORS) return read_fault(machine, run->io.port, exit);
  /* A read, a word, a port that is not a doorbell: as if the bitmap had refused it. */
  if (!plain || run->io.port < KERB_DOORBELL_READY || run->io.port > KERB_DOORBELL_LOG)
    return plain_fault(machine, SIGSEGV, SI_KERNEL_CODE, exit);
  exit->kind = EXIT_DOORBELL;
  exit->port = run->io.port;
  exit->first = run->s.regs.regs.rdi;
  exit->second = run->s.regs.regs.rsi;
}

static void broken(struct vm_exit *exit, const char *what, uint64_t detail) {
  exit->kind = EXIT_BROKEN;
  snprintf(exit->reason, sizeof exit->reason, "KVM: %s %llu", what, (unsigned long long)detail);
}

void machine_enter(const struct machine *machine, struct vm_exit *exit) {
  memset(exit, 0, offsetof(struct vm_exit, reason));
  if (ioctl(machine->processor, KVM_RUN, 0) != 0) {
    if (errno == EINTR || errno == EAGAIN)
      exit->kind = EXIT_INTERRUPTED;
    else
      broken(exit, "KVM_RUN failed with errno", (uint64_t)errno);
    return;
  }
  switch (machine->run->exit_reason) {
    case KVM_EXIT_IO:
      return read_port(machine, exit);
    case KVM_EXIT_INTR:
      exit->kind = EXIT_INTERRUPTED;
      return;
    case KVM_EXIT_SHUTDOWN:       /* a fault on the way to the stub of a fault */
    case KVM_EXIT_INTERNAL_ERROR: /* an instruction that KVM had to emulate, and cannot */
    case KVM_EXIT_MMIO:           /* a write to what the page tables say is read-only; KVM's own view stopped it */
    case KVM_EXIT_HLT:
      return plain_fault(machine, SIGSEGV, 0, exit);
    case KVM_EXIT_FAIL_ENTRY:
      return broken(exit, "the processor refuses the guest's state, reason",
                    machine->run->fail_entry.hardware_entry_failure_reason);
    default:
      return broken(exit, "unexpected exit", machine->run->exit_reason);
  }
}
