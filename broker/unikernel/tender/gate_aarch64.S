// The gate: see gate.h. It lies on one page inside the guest's range, R-X, because by then nothing else of the tender is
// left. Holds no secret, and once the filter is in place its system calls are worth no more than any that the guest brings
// along.
#include <kerbside/abi.h>

#define SYS_write 64
#define SYS_exit_group 94
#define SYS_munmap 215
#define SYS_seccomp 277
#define EAGAIN 11
#define EINVAL 22
#define ENOSYS 38
#define SECCOMP_SET_MODE_FILTER 1
#define SECCOMP_RET_TRAP 0x00030000
#define SECCOMP_RET_ALLOW 0x7fff0000
#define AUDIT_ARCH_AARCH64 0xc00000b7

// Offsets in the kernel's signal frame, arm64 (uapi/asm-generic/siginfo.h, uapi/asm/sigcontext.h, uapi/asm/ucontext.h).
#define SIGINFO_CODE 8
#define SIGINFO_ADDRESS 16
#define SIGINFO_SYSTEM_CALL 24 // and its machine behind it
#define UCONTEXT_SP 432
#define UCONTEXT_PC 440
#define UCONTEXT_RECORDS 464
#define RECORDS_SIZE 4096
#define ESR_MAGIC 0x45535201

// struct kerb_mailbox
#define MAILBOX_SIGNAL 4
#define MAILBOX_CODE 8
#define MAILBOX_SYNDROME 12
#define MAILBOX_ADDRESS 24
#define MAILBOX_INSTRUCTION 32
#define MAILBOX_STACK 40
#define MAILBOX_SYSTEM_CALL 48

// struct sock_filter: u16 code, u8 if true, u8 if false, u32 k
#define BPF(code, true, false, k) .short code; .byte true, false; .long k
#define BPF_LOAD 0x20
#define BPF_IF_EQUAL 0x15
#define BPF_RETURN 0x06
#define DATA_NR 0
#define DATA_ARCH 4
#define DATA_ARG0 16

#define AT_GATE(label) (KERB_GATE + (label) - kerb_gate_start)

        .section .rodata.gate, "a", %progbits
        .balign 64
        .globl  kerb_gate_start, kerb_gate_end, kerb_gate_entry, kerb_gate_fault, kerb_gate_vectors
kerb_gate_start:

// Entered by a call that never returns, after fork, with one thread and the log as the only descriptor. Uses no stack.
// w0: not zero for the self-test, which goes all the way and then does not run the guest.
        mov     w20, w0

        mov     w19, #1                         // step 1: nothing below the guest
        mov     x8, #SYS_munmap
        mov     x0, #0
        mov     x1, #KERB_GUEST_START
        svc     #0
        cbnz    x0, refused

        mov     w19, #2                         // step 2: nothing above it: the tender, its stack, the vDSO. Where the
        mov     x21, #1 << 53                   // address space ends differs between kernels: 2 to the power of 52, 48,
1:      lsr     x21, x21, #1                    // 47, 42, 39 or 36. What leaves it is refused as a whole
        mov     x0, #KERB_GUEST_END
        subs    x1, x21, x0
        b.ls    refused
        svc     #0
        cmn     x0, #EINVAL
        b.eq    1b
        cbnz    x0, refused

        mov     w19, #3                         // step 3: the guest's thread pointer
        mov     x0, #KERB_THREAD_POINTER
        msr     tpidr_el0, x0

        mov     w19, #4                         // step 4: from here on, write to the log and exit_group
        mov     x8, #SYS_seccomp
        mov     x0, #SECCOMP_SET_MODE_FILTER
        mov     x1, #0
        adr     x2, filter_program
        svc     #0
#ifdef KERB_UNSEALED                            // see filters.c
        cmn     x0, #ENOSYS
        b.eq    2f
#endif
        cbnz    x0, refused
2:

// Pages that every call touches: taken now, while nobody waits.
        mov     x0, #KERB_STACK_TOP & 0xffff0000
        movk    x0, #KERB_STACK_TOP & 0xffff
        str     xzr, [x0, #-8]
        mov     x0, #KERB_THREAD_POINTER
        str     xzr, [x0, #-8]
        mov     x0, #KERB_MAILBOX
        str     xzr, [x0]
        mov     x0, #KERB_INFO
        ldr     xzr, [x0]

        mov     w19, #5                         // step 5: wait in a write to the full log until the call begins
again:  mov     x8, #SYS_write
        mov     x0, #KERB_LOG_FD
        adr     x1, kerb_gate_start
        mov     x2, #1
        svc     #0
        cmn     x0, #EAGAIN                     // the call begins just now: the pipe does not block any more, but is
        b.eq    again                           // not yet empty
        cmp     x0, #1
        b.ne    refused
        cbnz    w20, passed

// Every register to a known value: what the tender copied may have passed through them. It uses no SVE, so that the kernel
// has none of its registers to keep; writing to a v register clears the rest of the z register.
        .irp    n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
        movi    v\n\().2d, #0
        .endr
        .irp    n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
        movi    v\n\().2d, #0
        .endr
        msr     fpcr, xzr
        msr     fpsr, xzr
        msr     nzcv, xzr
        mov     x0, #KERB_STACK_TOP & 0xffff0000
        movk    x0, #KERB_STACK_TOP & 0xffff
        mov     sp, x0
        ldr     x16, kerb_gate_entry            // the one register that is not zero: it holds where the guest begins
        mov     x0, #KERB_INFO
        .irp    n, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30
        mov     x\n, #0
        .endr
        br      x16

refused:
        add     w0, w19, #KERB_EXIT_GATE
        b       end

// The self-test: the gate was passed if the process can now end as a guest does.
passed:
        mov     w0, #KERB_EXIT_DONE
end:    mov     x8, #SYS_exit_group
        svc     #0
        brk     #0

// The handler of the guest's own faults: leaves what happened in the mailbox and ends the process. It runs in the hands
// of the guest, so the tender believes it no more than the guest itself; a guest that breaks it is simply killed.
// w0 signal, x1 siginfo, x2 ucontext.
kerb_gate_fault:
        mov     x9, #KERB_MAILBOX
        str     w0, [x9, #MAILBOX_SIGNAL]
        ldr     w10, [x1, #SIGINFO_CODE]
        str     w10, [x9, #MAILBOX_CODE]
        ldr     x10, [x1, #SIGINFO_ADDRESS]
        str     x10, [x9, #MAILBOX_ADDRESS]
        ldr     x10, [x2, #UCONTEXT_PC]
        str     x10, [x9, #MAILBOX_INSTRUCTION]
        ldr     x10, [x2, #UCONTEXT_SP]
        str     x10, [x9, #MAILBOX_STACK]
        ldr     x10, [x1, #SIGINFO_SYSTEM_CALL] // of other signals it is nothing, and not looked at
        str     x10, [x9, #MAILBOX_SYSTEM_CALL]
        mov     w10, #0                         // no syndrome, unless one of the records behind the registers is it
        mov     w11, #ESR_MAGIC & 0xffff
        movk    w11, #ESR_MAGIC >> 16, lsl #16
        add     x12, x2, #UCONTEXT_RECORDS
        add     x13, x12, #RECORDS_SIZE
3:      ldp     w14, w15, [x12]                 // its magic number and size; 0 and 0 at the end
        cmp     w14, w11
        b.eq    4f
        cbz     w15, 5f
        add     x12, x12, x15
        cmp     x12, x13
        b.lo    3b
        b       5f
4:      ldr     w10, [x12, #8]
5:      str     w10, [x9, #MAILBOX_SYNDROME]
        mov     w0, #KERB_EXIT_FAULT
        b       end

        .balign 8
kerb_gate_entry:
        .quad   0
kerb_gate_vectors:                              // nothing: vector registers are as they are on every arm64
        .quad   0
        .quad   0

filter_program:                                 // struct sock_fprog
        .short  (filter_end - filter) / 8
        .short  0, 0, 0
        .quad   AT_GATE(filter)
        .balign 8
filter:
        BPF(BPF_LOAD, 0, 0, DATA_ARCH)
        BPF(BPF_IF_EQUAL, 0, 8, AUDIT_ARCH_AARCH64)
        BPF(BPF_LOAD, 0, 0, DATA_NR)
        BPF(BPF_IF_EQUAL, 5, 0, SYS_exit_group)
        BPF(BPF_IF_EQUAL, 0, 5, SYS_write)
        BPF(BPF_LOAD, 0, 0, DATA_ARG0)
        BPF(BPF_IF_EQUAL, 0, 3, KERB_LOG_FD)
        BPF(BPF_LOAD, 0, 0, DATA_ARG0 + 4)
        BPF(BPF_IF_EQUAL, 0, 1, 0)
        BPF(BPF_RETURN, 0, 0, SECCOMP_RET_ALLOW)
        BPF(BPF_RETURN, 0, 0, SECCOMP_RET_TRAP) // to kerb_gate_fault
filter_end:
kerb_gate_end:
        .section .note.GNU-stack, "", %progbits
