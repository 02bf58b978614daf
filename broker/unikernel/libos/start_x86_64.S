// Where the tender jumps to: rdi = info page, rsp = top of the stack, fs = thread pointer, every other register zero.
        .text
        .globl  _start
        .type   _start, @function
_start:
        xorl    %ebp, %ebp
        andq    $-16, %rsp
        call    kerb_start
        ud2
        .size   _start, . - _start
        .section .note.GNU-stack, "", @progbits
