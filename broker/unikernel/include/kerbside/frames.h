/*
 * What the broker and the tender say to each other on their socket pair. Numbers are little-endian.
 *
 * Every frame starts with the length of all that follows the length field itself, then a type. The broker's frames are
 * one fixed struct, LOAD followed by the image and CALL by its input when that is inline; the tender's are a struct, OUTCOME
 * followed by its log and, when inline, its output.
 *
 *   tender                                broker
 *   HELLO  (descriptors of its memfds) ->
 *                                      <- OPENED    the broker has opened them as /proc/PID/fd/N
 *   BLANK  | FAILED                    ->           sealed, and waits for an image | this machine cannot confine it
 *                                      <- LOAD      the image; may be sent before BLANK has come
 *   LOADED | REFUSED | FAILED          ->           the image is loaded | refused | this machine cannot run it so
 *                                      <- CALL      input inline, or already written to the input memfd
 *   OUTCOME                            ->           output inline, or in the output memfd
 *                                      <- RELEASE   only after an output in the memfd: the broker has read it
 */
#ifndef KERBSIDE_FRAMES_H
#define KERBSIDE_FRAMES_H

#include <kerbside/abi.h>

#define KERB_WIRE_VERSION 2
#define KERB_SOCKET_FD 3
#define KERB_INLINE_MAX 0x40000 /* 256 KiB: larger payloads go through the memfds */
#define KERB_MAX_BUDGET_NS 3600000000000ull
#define KERB_MAX_REASON 512

enum kerb_frame_type {
  KERB_FRAME_HELLO = 1,
  KERB_FRAME_LOADED = 2,
  KERB_FRAME_REFUSED = 3,
  KERB_FRAME_FAILED = 4,
  KERB_FRAME_OUTCOME = 5,
  KERB_FRAME_BLANK = 6,
  KERB_FRAME_OPENED = 16,
  KERB_FRAME_CALL = 17,
  KERB_FRAME_RELEASE = 18,
  KERB_FRAME_LOAD = 19,
};

struct kerb_frame_header {
  uint32_t length; /* of all that follows this field */
  uint32_t type;
};

/* OPENED, LOAD, CALL, RELEASE. What is not named for a type is zero in it. */
struct kerb_broker_frame {
  struct kerb_frame_header header;
  uint64_t input_size;   /* CALL; LOAD: of the image */
  uint64_t budget_ns;    /* CALL */
  uint32_t input_inline; /* CALL: 1: the input follows this struct; 0: it is in the memfd. LOAD: 1 */
  uint32_t isolation;    /* LOAD: KERB_ISOLATION_..., or 0: the best that the tender was started for and this machine has */
};

struct kerb_hello_frame {
  struct kerb_frame_header header;
  uint32_t wire_version;
  uint32_t input_fd;
  uint32_t output_fd;
  uint32_t reserved;
};

/* Followed by one line of text: how the tender is confined, and what this kernel lacks. */
struct kerb_loaded_frame {
  struct kerb_frame_header header;
  struct kerb_note_manifest manifest;
  uint32_t isolation;
  uint32_t kept; /* 1: one process runs all calls, and is put back after each; 0: each has its own, or there is none */
};

/* BLANK: the header alone. REFUSED and FAILED: the header, followed by one line of text. */

enum kerb_outcome_kind {
  KERB_OUTCOME_DONE = 1,
  KERB_OUTCOME_ABORTED = 2,
  KERB_OUTCOME_DEADLINE = 3,
  KERB_OUTCOME_FAULT = 4,
  KERB_OUTCOME_BAD_OUTPUT = 5,
};

/*
 * The status of a fault in isolation `vm`: the processor's vector in bits 16 to 20, its error code in bits 0 to 15, and this
 * bit. Without the bit nothing is known but the signal.
 */
#define KERB_FAULT_EXACT 0x80000000u
/*
 * The status of a fault in isolation `process` on arm64, where the kernel tells the syndrome: this bit, the exception class in
 * bits 16 to 21 and the low half of the instruction specific syndrome in bits 0 to 15 (Arm ARM, ESR_EL1).
 */
#define KERB_FAULT_SYNDROME 0x40000000u
/*
 * A system call is reported as signal SIGSYS with the code SYS_SECCOMP, whatever the processor or the kernel made of it: the
 * fault address is its number, sign-extended. Its status in isolation `process` is 0, or this when it is of the 32-bit table.
 */
#define KERB_FAULT_SYSTEM_CALL_32 1u

/* Followed by `log_size` bytes of log and then, when `output_inline` is 1, `output_size` bytes of output. */
struct kerb_outcome_frame {
  struct kerb_frame_header header;
  uint32_t kind;
  uint32_t status; /* done: the task's; aborted: the code; fault by exit: the exit code; other faults: see above */
  uint64_t output_size; /* done: checked; bad output: what the guest claimed */
  uint64_t run_ns;
  uint64_t cpu_ns;
  uint32_t log_size;
  uint32_t output_inline;
  uint32_t signal; /* fault: the signal, 0 when the guest's process simply ended */
  int32_t signal_code; /* fault: si_code as the guest's fault handler saw it; 0 when the kernel killed it outright */
  uint64_t fault_address;
  uint64_t instruction;
  uint64_t stack_pointer;
  uint64_t memory; /* bytes of its own memory that the guest used; see struct ending of tender/isolation.h */
};

_Static_assert(sizeof(struct kerb_broker_frame) == 32, "broker frames are 32 bytes");
_Static_assert(sizeof(struct kerb_outcome_frame) == 88, "an outcome is 88 bytes");
#endif
