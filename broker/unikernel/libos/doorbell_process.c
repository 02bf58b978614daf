/*
 * The doorbells of isolation `process`: `done` and `abort` leave their values in the mailbox and end the process, or would,
 * if the tender did not stop it there; `log` and `ready` write to the one descriptor that there is. These two system calls are all that the seccomp filter lets through.
 */
#include <sys/syscall.h>

#include "libos.h"
#include "system_call.h"

static struct kerb_mailbox *mailbox(void) { return (struct kerb_mailbox *)KERB_MAILBOX; }

static __attribute__((noreturn)) void end_process(int code) {
  for (;;) kerb_system_call(SYS_exit_group, (uint64_t)code, 0, 0, 0, 0, 0);
}

/* A write of nothing: a tender that keeps this process stops it there, and puts it back to here for each call. */
static void ready(void) { kerb_system_call(SYS_write, KERB_LOG_FD, KERB_INFO, 0, 0, 0, 0); }

static __attribute__((noreturn)) void done(uint32_t status, uint64_t output_size) {
  mailbox()->status = status;
  mailbox()->output_size = output_size;
  end_process(KERB_EXIT_DONE);
}

static __attribute__((noreturn)) void abort_call(uint32_t code) {
  mailbox()->status = code;
  end_process(KERB_EXIT_ABORT);
}

/* The descriptor does not block: once the log of this call is full, the rest is dropped by the kernel. */
static void log_text(const void *text, size_t size) {
  kerb_system_call(SYS_write, KERB_LOG_FD, (uintptr_t)text, size, 0, 0, 0);
}

const struct kerb_doorbells kerb_doorbells_process = {
    .ready = ready,
    .done = done,
    .abort = abort_call,
    .log = log_text,
};
