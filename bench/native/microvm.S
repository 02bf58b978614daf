/*
 * The smallest guest of QEMU's microvm: its first instructions end the machine, by QEMU's isa-debug-exit at port 0x500
 * (exit code 2n+1). QEMU starts an ELF file that has this note in 32-bit protected mode (Xen's PVH boot protocol,
 * XEN_ELFNOTE_PHYS32_ENTRY).
 */
  .section .note.pvh, "a", @note
  .long 4, 4, 18
  .asciz "Xen"
  .long start

  .section .text, "ax"
  .code32
  .globl start
start:
  mov $0x500, %dx
  mov $0x10, %al
  outb %al, %dx
stay:
  hlt
  jmp stay
