/*
 * The contract between a unikernel and the tender that holds it: where things lie in the guest, what the info page says,
 * and which notes an image carries. Plain numbers, so that assembler and C read the same file.
 *
 * Everything a guest hands back through this contract (mailbox, status, lengths) is hostile until it is checked.
 */
#ifndef KERBSIDE_ABI_H
#define KERBSIDE_ABI_H

#define KERB_ABI_VERSION 1
#define KERB_TARGET_X86_64 1
#define KERB_TARGET_AARCH64 2
#if defined(__x86_64__)
#define KERB_TARGET KERB_TARGET_X86_64
#elif defined(__aarch64__)
#define KERB_TARGET KERB_TARGET_AARCH64
#else
#error "a unikernel is for x86-64 or arm64"
#endif

/*
 * Guest layout, the same for both isolations. Guest addresses are below 1 GiB; the tender lies above.
 *
 *   0x00000000  nothing, ever
 *   0x00100000  image: text R-X, rodata R--, data and bss RW-; one unmapped page; heap RW-
 *   0x20000000  unmapped guard page
 *   0x20001000  stack RW-, grows down towards the guard
 *   0x28000000  thread pointer (fs, tpidr_el0). x86-64: the TLS block RW- ends here, the thread control block RW- starts
 *               here; arm64: the other way round
 *   0x30000000  info page R--
 *   0x31000000  input R--
 *   0x36000000  output RW-
 *   0x3f000000  mailbox RW-       (isolation `process` only)
 *   0x3f100000  fault stack RW-   (isolation `process` only)
 *   0x3f200000  vectors R--       (isolation `process` on x86-64 only)
 *   0x3ffff000  gate R-X          (isolation `process` only)
 *   0x40000000  what the processor itself needs, out of the guest's reach (isolation `vm` only)
 */
#define KERB_PAGE 0x1000
#define KERB_GUEST_START 0x00100000
#define KERB_HEAP_END 0x20000000
#define KERB_STACK_START 0x20001000
#define KERB_STACK_SIZE 0x40000
#define KERB_STACK_TOP (KERB_STACK_START + KERB_STACK_SIZE)
#define KERB_THREAD_POINTER 0x28000000
#define KERB_INFO 0x30000000
#define KERB_INPUT 0x31000000
#define KERB_OUTPUT 0x36000000
#define KERB_MAILBOX 0x3f000000
#define KERB_FAULT_STACK 0x3f100000
#define KERB_FAULT_STACK_SIZE 0x10000 /* at least: it holds the kernel's signal frame, which grows with the processor's state */
#define KERB_FAULT_STACK_MAX 0x100000
#define KERB_VECTORS 0x3f200000
#define KERB_VECTORS_MAX 0x100000
#define KERB_GATE 0x3ffff000
#define KERB_GUEST_END 0x40000000

/* Limits that no manifest may pass. */
#define KERB_MAX_IMAGE_FILE 0x4000000 /* 64 MiB */
#define KERB_MAX_MEMORY 0x10000000    /* 256 MiB of data, TLS, stack and heap */
#define KERB_MAX_INPUT 0x4000000      /* 64 MiB */
#define KERB_MAX_OUTPUT 0x4000000     /* 64 MiB */
#define KERB_MAX_TLS 0x100000         /* 1 MiB */
#define KERB_MAX_LOG 0xfff            /* bytes of log that one call may leave: a page of pipe less a byte of the gate's */
#define KERB_NAME_SIZE 64             /* with the closing zero */

#define KERB_ISOLATION_PROCESS 1
#define KERB_ISOLATION_VM 2

/* Isolation `process`: how the guest's process ends says which doorbell was the last. */
#define KERB_LOG_FD 0
#define KERB_EXIT_DONE 0x10
#define KERB_EXIT_ABORT 0x11
#define KERB_EXIT_FAULT 0x12
#define KERB_EXIT_GATE 0x20 /* plus the number of the step that the kernel refused; never after the guest has run */

/*
 * Isolation `vm`, x86-64 only: a doorbell is one `out %al` to its port. Values are in registers: `done` has the status in edi and the
 * output size in rsi, `abort` the code in edi, `log` the address in rdi and the length in rsi. Of all ports the guest may
 * write to these eight; the last four are not doorbells.
 */
#define KERB_DOORBELL_READY 0x500
#define KERB_DOORBELL_DONE 0x501
#define KERB_DOORBELL_ABORT 0x502
#define KERB_DOORBELL_LOG 0x503
#define KERB_DOORBELL_END 0x508

/* Codes of the libOS for `abort`; a task uses codes of its own below them. */
#define KERB_ABORT_LIBOS 0xffff0000
#define KERB_ABORT_CALLED 0xffff0001         /* abort() */
#define KERB_ABORT_ASSERT 0xffff0002         /* assert() */
#define KERB_ABORT_STACK_SMASHED 0xffff0003  /* stack protector */
#define KERB_ABORT_HEAP_CORRUPT 0xffff0004   /* free() of what malloc() did not give, or an overwritten header */
#define KERB_ABORT_BUFFER 0xffff0005         /* a fortified string function found an overflow */
#define KERB_ABORT_ABI 0xffff0006            /* an info page of another version */
#define KERB_ABORT_EXIT 0xffff0007           /* exit() */
/* Those of a task that was WebAssembly. */
#define KERB_ABORT_WASM_BOUNDS 0xffff0010      /* trap: memory or table access out of bounds */
#define KERB_ABORT_WASM_OVERFLOW 0xffff0011    /* trap: integer overflow */
#define KERB_ABORT_WASM_DIVISION 0xffff0012    /* trap: integer division by zero */
#define KERB_ABORT_WASM_CONVERSION 0xffff0013  /* trap: no integer (NaN) */
#define KERB_ABORT_WASM_UNREACHABLE 0xffff0014 /* trap: unreachable; also what AssemblyScript does when memory.grow has failed */
#define KERB_ABORT_WASM_CALL 0xffff0015        /* trap: indirect call of a function of another type */
#define KERB_ABORT_WASM_THROWN 0xffff0016      /* throw, assert() or a failed check; the log has its message */
#define KERB_ABORT_WASM_MEMORY 0xffff0017      /* the declared memory does not even hold the module's own data */
#define KERB_ABORT_WASM_TYPES 0xffff0018       /* more function types than the libOS has room for */

/* Notes: owner "Kerbside". */
#define KERB_NOTE_OWNER "Kerbside"
#define KERB_NOTE_OWNER_SIZE 9
#define KERB_NOTE_ABI 1
#define KERB_NOTE_MANIFEST 2

#ifndef __ASSEMBLER__
#include <stddef.h>
#include <stdint.h>

/* Descriptor of KERB_NOTE_ABI. */
struct kerb_note_abi {
  uint32_t target;
  uint32_t version;
};

/* Descriptor of KERB_NOTE_MANIFEST. Sizes in bytes. `name` is [a-z0-9-]+ and zero-filled. */
struct kerb_note_manifest {
  uint64_t memory; /* data and bss, TLS, stack and heap together */
  uint64_t max_input;
  uint64_t max_output;
  char name[KERB_NAME_SIZE];
};

/*
 * The info page: read-only for the guest, written afresh before each call. Lengths, time and seed are valid after `ready`:
 * in isolation `vm` what comes before it runs once, and every call starts with the memory and registers of that moment.
 */
struct kerb_info {
  uint32_t abi_version;
  uint32_t isolation;
  uint64_t heap;
  uint64_t heap_size;
  uint64_t input;
  uint64_t input_size;
  uint64_t output;
  uint64_t output_capacity;
  uint64_t time_ms; /* coarse wall clock at the start of the call, milliseconds since 1970; it does not advance */
  uint8_t seed[32]; /* fresh random bytes for this call */
};

/* The mailbox: what `done`, `abort` and the fault handler leave for the tender. The guest may write anything here. */
struct kerb_mailbox {
  uint32_t status; /* done: the task's status; abort: the code */
  uint32_t signal;
  int32_t signal_code;
  uint32_t syndrome; /* arm64: ESR_EL1 of the fault, as far as the kernel tells it; else 0 */
  uint64_t output_size;
  uint64_t fault_address;
  uint64_t instruction;
  uint64_t stack_pointer;
  /* SIGSYS: the number of the system call, and whose table it is of (linux/audit.h). */
  int32_t system_call;
  uint32_t system_call_machine;
};

#ifdef __cplusplus
#define KERB_STATIC_ASSERT static_assert
#else
#define KERB_STATIC_ASSERT _Static_assert
#endif
KERB_STATIC_ASSERT(sizeof(struct kerb_note_manifest) == 88, "the manifest note is 88 bytes");
KERB_STATIC_ASSERT(sizeof(struct kerb_info) == 96, "the info page starts with 96 bytes");
KERB_STATIC_ASSERT(offsetof(struct kerb_mailbox, output_size) == 16, "gate_*.S write the mailbox by offset");
KERB_STATIC_ASSERT(offsetof(struct kerb_mailbox, stack_pointer) == 40, "gate_*.S write the mailbox by offset");
KERB_STATIC_ASSERT(offsetof(struct kerb_mailbox, system_call) == 48, "gate_*.S write the mailbox by offset");
#endif
#endif
