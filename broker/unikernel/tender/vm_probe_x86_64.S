// The guest of the self-test (vm_prove_x86_64.c): position-independent, copied to KERB_GUEST_START, run in ring 3.
#include <kerbside/abi.h>

#include "vm_probe.h"

        .section .rodata.probe, "a", @progbits
        .globl  kerb_probe_start, kerb_probe_end, kerb_probe_load, kerb_probe_port, kerb_probe_touch
        .balign 64
kerb_probe_start:
// Arithmetic in 256 bits, where CPUID offers it: eight times 2 * 3 = 6, summed up in esi.
        xorl    %esi, %esi
        movl    $7, %eax
        xorl    %ecx, %ecx
        cpuid
        btl     $5, %ebx
        jnc     1f
        vpcmpeqd %ymm0, %ymm0, %ymm0
        vpsrld  $31, %ymm0, %ymm0
        vpslld  $1, %ymm0, %ymm1
        vpaddd  %ymm0, %ymm1, %ymm2
        vpmulld %ymm1, %ymm2, %ymm3
        vmovdqu %ymm3, -64(%rsp)
        vzeroupper
        movl    $8, %ecx
2:      addl    -68(%rsp,%rcx,4), %esi
        loop    2b

// Speed: emulated, this takes a tenth of a second; at full speed some 50 microseconds.
1:      movl    $KERB_PROBE_LOOPS, %ecx
3:      decl    %ecx
        jnz     3b
        movl    $KERB_PROBE_DONE, %edi
        movl    $KERB_DOORBELL_DONE, %edx
        outb    %al, %dx

// A page fault, when the tender goes on from here.
kerb_probe_load:
        movb    KERB_PROBE_HOLE, %al
        ud2

// A port that is nobody's.
kerb_probe_port:
        movl    $KERB_DOORBELL_END, %edx
        outb    %al, %dx
        ud2

// Writes to ecx pages from rdi on.
kerb_probe_touch:
4:      movb    $1, (%rdi)
        addq    $KERB_PAGE, %rdi
        decl    %ecx
        jnz     4b
        movl    $KERB_PROBE_DONE, %edi
        movl    $KERB_DOORBELL_DONE, %edx
        outb    %al, %dx
        ud2
kerb_probe_end:
        .section .note.GNU-stack, "", @progbits
