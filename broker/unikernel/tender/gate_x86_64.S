// The gate: see gate.h. It lies on one page inside the guest's range, R-X, because by then nothing else of the tender is
// left. Holds no secret, and once the filter is in place its system calls are worth no more than any that the guest brings
// along.
#include <kerbside/abi.h>

#define SYS_munmap 11
#define SYS_arch_prctl 158
#define SYS_exit_group 231
#define SYS_seccomp 317
#define SYS_write 1
#define EAGAIN 11
#define ARCH_SET_FS 0x1002
#define SECCOMP_SET_MODE_FILTER 1
#define SECCOMP_RET_TRAP 0x00030000
#define SECCOMP_RET_TRACE 0x7ff00000
#define SECCOMP_RET_ALLOW 0x7fff0000
#define AUDIT_ARCH_X86_64 0xc000003e
#define USER_END 0x7ffffffff000

// Offsets in the kernel's signal frame, x86-64 (uapi/asm-generic/siginfo.h, uapi/asm/sigcontext.h).
#define SIGINFO_CODE 8
#define SIGINFO_ADDRESS 16
#define SIGINFO_SYSTEM_CALL 24 // and its machine behind it
#define UCONTEXT_RSP 160
#define UCONTEXT_RIP 168

// struct kerb_mailbox
#define MAILBOX_SIGNAL 4
#define MAILBOX_CODE 8
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
#define DATA_ARG2 32

#define GATE_KEPT 2

#define AT_GATE(label) (KERB_GATE + (label) - kerb_gate_start)

        .section .rodata.gate, "a", @progbits
        .balign 64
        .globl  kerb_gate_start, kerb_gate_end, kerb_gate_entry, kerb_gate_fault
        .globl  kerb_gate_vectors
kerb_gate_start:

// Entered by a call that never returns, after fork, with one thread and the log as the only descriptor. Uses no stack.
// edi: enum gate_way of gate.h.
        movl    %edi, %r13d
        xorl    %r12d, %r12d

        incl    %r12d                           // step 1: nothing below the guest
        movl    $SYS_munmap, %eax
        xorl    %edi, %edi
        movl    $KERB_GUEST_START, %esi
        syscall
        testq   %rax, %rax
        jnz     refused

        incl    %r12d                           // step 2: nothing above it: the tender, its stack, the vDSO
        movl    $SYS_munmap, %eax
        movl    $KERB_GUEST_END, %edi
        movabsq $(USER_END - KERB_GUEST_END), %rsi
        syscall
        testq   %rax, %rax
        jnz     refused

        incl    %r12d                           // step 3: the guest's thread pointer
        movl    $SYS_arch_prctl, %eax
        movl    $ARCH_SET_FS, %edi
        movl    $KERB_THREAD_POINTER, %esi
        syscall
        testq   %rax, %rax
        jnz     refused

        incl    %r12d                           // step 4: from here on, write to the log and exit_group
        movl    $SYS_seccomp, %eax
        movl    $SECCOMP_SET_MODE_FILTER, %edi
        xorl    %esi, %esi
        leaq    filter_program(%rip), %rdx
        leaq    kept_program(%rip), %rcx
        cmpl    $GATE_KEPT, %r13d
        cmoveq  %rcx, %rdx
        syscall
        testq   %rax, %rax
        jnz     refused

// Pages that every call touches: taken now, while nobody waits.
        xorl    %eax, %eax
        movq    %rax, KERB_STACK_TOP - 8
        movq    %rax, KERB_THREAD_POINTER
        movq    %rax, KERB_MAILBOX
        movq    KERB_INFO, %rax
        movq    kerb_gate_vectors+8(%rip), %rcx // the end of the area: as far as the processor may read it
        movb    -1(%rcx), %al

        cmpl    $GATE_KEPT, %r13d
        je      reset
        incl    %r12d                           // step 5: wait in a write to the full log until the call begins
again:  movl    $SYS_write, %eax
        movl    $KERB_LOG_FD, %edi
        leaq    kerb_gate_start(%rip), %rsi
        movl    $1, %edx
        syscall
        cmpq    $-EAGAIN, %rax                  // the call begins just now: the pipe does not block any more, but is
        je      again                           // not yet empty
        cmpq    $1, %rax
        jne     refused

// Every register to a known value: what the tender copied may have passed through them.
reset:  movl    $KERB_VECTORS, %ecx
        movl    kerb_gate_vectors(%rip), %eax   // which components: see vectors_x86_64.c
        movl    kerb_gate_vectors+4(%rip), %edx
        movl    %eax, %ebx
        orl     %edx, %ebx
        jz      1f
        xrstor64 (%rcx)                         // to their initial state
        jmp     2f
1:      fxrstor64 (%rcx)
2:      testl   %r13d, %r13d
        jnz     passed
        movl    $KERB_INFO, %edi
        movl    $KERB_STACK_TOP, %esp
        xorl    %ecx, %ecx
        xorl    %edx, %edx
        xorl    %ebx, %ebx
        xorl    %esi, %esi
        xorl    %ebp, %ebp
        xorl    %r8d, %r8d
        xorl    %r9d, %r9d
        xorl    %r10d, %r10d
        xorl    %r11d, %r11d
        xorl    %r12d, %r12d
        xorl    %r13d, %r13d
        xorl    %r14d, %r14d
        xorl    %r15d, %r15d
        cld
        xorl    %eax, %eax
        jmp     *kerb_gate_entry(%rip)

refused:
        leal    KERB_EXIT_GATE(%r12), %edi
        movl    $SYS_exit_group, %eax
        syscall
        ud2

// The handler of the guest's own faults: leaves what happened in the mailbox and ends the process. It runs in the hands
// of the guest, so the tender believes it no more than the guest itself; a guest that breaks it is simply killed.
kerb_gate_fault:
        movl    $KERB_MAILBOX, %eax
        movl    %edi, MAILBOX_SIGNAL(%rax)
        movl    SIGINFO_CODE(%rsi), %ecx
        movl    %ecx, MAILBOX_CODE(%rax)
        movq    SIGINFO_ADDRESS(%rsi), %rcx
        movq    %rcx, MAILBOX_ADDRESS(%rax)
        movq    UCONTEXT_RIP(%rdx), %rcx
        movq    %rcx, MAILBOX_INSTRUCTION(%rax)
        movq    UCONTEXT_RSP(%rdx), %rcx
        movq    %rcx, MAILBOX_STACK(%rax)
        movq    SIGINFO_SYSTEM_CALL(%rsi), %rcx // of other signals it is nothing, and not looked at
        movq    %rcx, MAILBOX_SYSTEM_CALL(%rax)
        movl    $KERB_EXIT_FAULT, %edi
        movl    $SYS_exit_group, %eax
        syscall
        ud2

// The self-test: the gate was passed if the process can now end as a guest does.
passed:
        movl    $KERB_EXIT_DONE, %edi
        movl    $SYS_exit_group, %eax
        syscall
        ud2

        .balign 8
kerb_gate_entry:
        .quad   0
kerb_gate_vectors:
        .quad   0
        .quad   0

filter_program:                                 // struct sock_fprog
        .short  (filter_end - filter) / 8
        .short  0, 0, 0
        .quad   AT_GATE(filter)
        .balign 8
filter:
        BPF(BPF_LOAD, 0, 0, DATA_ARCH)
        BPF(BPF_IF_EQUAL, 0, 8, AUDIT_ARCH_X86_64)
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

// Of a guest that is traced and put back after each call. Its end, and a write of nothing, which says that its start-up is over,
// stop it before anything happens.
        .balign 8
kept_program:
        .short  (kept_end - kept) / 8
        .short  0, 0, 0
        .quad   AT_GATE(kept)
        .balign 8
kept:
        BPF(BPF_LOAD, 0, 0, DATA_ARCH)
        BPF(BPF_IF_EQUAL, 0, 13, AUDIT_ARCH_X86_64)
        BPF(BPF_LOAD, 0, 0, DATA_NR)
        BPF(BPF_IF_EQUAL, 10, 0, SYS_exit_group)
        BPF(BPF_IF_EQUAL, 0, 10, SYS_write)
        BPF(BPF_LOAD, 0, 0, DATA_ARG0)
        BPF(BPF_IF_EQUAL, 0, 8, KERB_LOG_FD)
        BPF(BPF_LOAD, 0, 0, DATA_ARG0 + 4)
        BPF(BPF_IF_EQUAL, 0, 6, 0)
        BPF(BPF_LOAD, 0, 0, DATA_ARG2)
        BPF(BPF_IF_EQUAL, 0, 2, 0)
        BPF(BPF_LOAD, 0, 0, DATA_ARG2 + 4)
        BPF(BPF_IF_EQUAL, 1, 0, 0)
        BPF(BPF_RETURN, 0, 0, SECCOMP_RET_ALLOW)
        BPF(BPF_RETURN, 0, 0, SECCOMP_RET_TRACE) // to process_kept_x86_64.c
        BPF(BPF_RETURN, 0, 0, SECCOMP_RET_TRAP)  // a signal, of which the same one hears
kept_end:

kerb_gate_end:
        .section .note.GNU-stack, "", @progbits
