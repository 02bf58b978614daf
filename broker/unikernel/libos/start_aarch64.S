// Where the tender jumps to: x0 = info page, sp = top of the stack, tpidr_el0 = thread pointer, x16 = here, every other
// register zero.
        .text
        .globl  _start
        .type   _start, @function
_start:
        bl      kerb_start
        brk     #0
        .size   _start, . - _start
        .section .note.GNU-stack, "", @progbits
