// As sigsetjmp_x86_64.S.
        .text
        .globl  __sigsetjmp
        .globl  sigsetjmp
__sigsetjmp:
sigsetjmp:
        b       setjmp
        .globl  siglongjmp
siglongjmp:
        b       longjmp
        .section .note.GNU-stack, "", @progbits
