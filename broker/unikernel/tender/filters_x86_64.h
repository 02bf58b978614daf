/* What the filters of filters.c let through on x86-64 beyond that. A list begins with its comma. */
#ifndef KERBSIDE_TENDER_FILTERS_X86_64_H
#define KERBSIDE_TENDER_FILTERS_X86_64_H

#include <linux/kvm.h>
#include <sys/ptrace.h>

/* x32 calls have bit 30 set in their number, so they match no rule. */
#define MACHINE_AUDIT AUDIT_ARCH_X86_64

/* The gate sets the guest's thread pointer by a system call. */
#define ARCH_SET_FS 0x1002
/*
 * A kept guest is traced by its own wish, and the tender waits for its signal. Of ptrace only what a tracer says to what it
 * traces already: no attaching to others.
 */
#define MACHINE_PROCESS                                                                                        \
  , LET_WITH(arch_prctl, 0, ARCH_SET_FS), LET(rt_sigtimedwait), LET_WITH(ptrace, 0, PTRACE_TRACEME),           \
      LET_WITH(ptrace, 0, PTRACE_SETOPTIONS), LET_WITH(ptrace, 0, PTRACE_CONT),                                \
      LET_WITH(ptrace, 0, PTRACE_GETREGS), LET_WITH(ptrace, 0, PTRACE_SETREGS),                                \
      LET_WITH(ptrace, 0, PTRACE_GETREGSET), LET_WITH(ptrace, 0, PTRACE_SETREGSET),                            \
      LET_WITH(ptrace, 0, PTRACE_GETSIGINFO)

/*
 * A call, and then the way back: to the snapshot, or to a new machine. The one mapping that is made is that of kvm_run. An
 * ioctl is let through by its number, whatever the descriptor: none of these means anything to one that is not KVM's.
 */
#define MACHINE_VM                                                                                             \
  , LET_WITH(ioctl, 1, KVM_RUN), LET_WITH(ioctl, 1, KVM_GET_REGS), LET_WITH(ioctl, 1, KVM_SET_REGS),           \
      LET_WITH(ioctl, 1, KVM_GET_SREGS), LET_WITH(ioctl, 1, KVM_SET_SREGS), LET_WITH(ioctl, 1, KVM_GET_XSAVE), LET_WITH(ioctl, 1, KVM_GET_XSAVE2), \
      LET_WITH(ioctl, 1, KVM_SET_XSAVE), LET_WITH(ioctl, 1, KVM_GET_XCRS), LET_WITH(ioctl, 1, KVM_SET_XCRS),   \
      LET_WITH(ioctl, 1, KVM_GET_DEBUGREGS), LET_WITH(ioctl, 1, KVM_SET_DEBUGREGS),                            \
      LET_WITH(ioctl, 1, KVM_GET_VCPU_EVENTS), LET_WITH(ioctl, 1, KVM_SET_VCPU_EVENTS),                        \
      LET_WITH(ioctl, 1, KVM_GET_DIRTY_LOG), LET_WITH(ioctl, 1, KVM_CREATE_VM),                                \
      LET_WITH(ioctl, 1, KVM_SET_TSS_ADDR), LET_WITH(ioctl, 1, KVM_SET_USER_MEMORY_REGION),                    \
      LET_WITH(ioctl, 1, KVM_CREATE_VCPU), LET_WITH(ioctl, 1, KVM_SET_CPUID2),                                 \
      LET_WITH(mmap, 3, MAP_SHARED), LET_WITH(madvise, 2, MADV_DONTNEED), \
      LET(timer_settime), LET(rt_sigreturn)

#endif
