// glibc's headers turn setjmp() into _setjmp() or __sigsetjmp(env, savemask). A guest has no signal mask, so all are
// musl's setjmp; a jump, not a call, because setjmp records its caller's frame. glibc's jmp_buf is larger than musl's.
        .text
        .globl  __sigsetjmp
        .globl  sigsetjmp
__sigsetjmp:
sigsetjmp:
        jmp     setjmp
        .globl  siglongjmp
siglongjmp:
        jmp     longjmp
        .section .note.GNU-stack, "", @progbits
